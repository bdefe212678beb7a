/* A strict JSON scanner over bytes that are not terminated: every step checks the end first.
 *
 * Each function takes the cursor past what it read and returns 1, or returns 0: not there, or not ordinary (escapes,
 * control characters, numbers too long). 0 always means "leave the request to the generic path", so no error is kept.
 */
#ifndef HEADRACE_JSON_H
#define HEADRACE_JSON_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *at, *end;
} json_cursor;

typedef struct {
    const char *start;
    size_t size;
    int ascii;
} json_text;

typedef struct {
    double value;
    int integer; /* no fraction and no exponent */
} json_number;

static inline void json_space(json_cursor *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\r' || *in->at == '\t')) in->at++;
}

/* The next character that is not space, without taking it; 0 at the end. */
static inline char json_peek(json_cursor *in) {
    json_space(in);
    return in->at < in->end ? *in->at : 0;
}

static inline int json_take(json_cursor *in, char expected) {
    if (json_peek(in) != expected || in->at == in->end) return 0;
    in->at++;
    return 1;
}

int json_word(json_cursor *in, const char *word, size_t size);
int json_string(json_cursor *in, json_text *text);
int json_read_number(json_cursor *in, json_number *number);
int json_count(json_cursor *in, uint32_t *count);

#endif
