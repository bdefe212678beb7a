/* The head of an ordinary HTTP/1.1 request, or nothing. */
#ifndef HEADRACE_HTTP_H
#define HEADRACE_HTTP_H

#include <stddef.h>

typedef struct {
    const char *body;
    size_t body_size;
    const char *request_id; /* NULL when there is none */
    size_t request_id_size;
    const char *length; /* the digits of the body's length */
} http_request;

#define HTTP_LONGEST_HEAD 1024

/* The header lines of an earlier request: clients and proxies send the same ones again and again, but for the length. */
typedef struct {
    size_t before, after; /* bytes up to the digits of the length, and from there to the body; none: 0 */
    char bytes[HTTP_LONGEST_HEAD];
} http_memory;

#define HTTP_DATE_SIZE 37

/* The line of the Date field, made anew when its second is over. */
typedef struct {
    long long second;
    char line[80];
} http_date;

const char *http_date_line(http_date *date); /* HTTP_DATE_SIZE bytes */

/* Reads the header lines that follow the request line; 1 when all of them are ordinary and the body is complete. */
int http_read_headers(const char *at, const char *end, http_memory *memory, http_request *request);

#endif
