/* The head of an ordinary HTTP/1.1 request, or nothing. */
#ifndef HEADRACE_HTTP_H
#define HEADRACE_HTTP_H

#include <stddef.h>

typedef struct {
    const char *body;
    size_t body_size;
    const char *request_id; /* NULL when there is none */
    size_t request_id_size;
} http_request;

/* Reads the header lines that follow the request line; 1 when all of them are ordinary and the body is complete. */
int http_read_headers(const char *at, const char *end, http_request *request);

#endif
