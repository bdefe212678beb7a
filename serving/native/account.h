/* Bytes of requests in flight, of all connections together: see serving.budget. */
#ifndef HEADRACE_ACCOUNT_H
#define HEADRACE_ACCOUNT_H

typedef struct {
    long long held, limit, refused;
} hr_account;

#endif
