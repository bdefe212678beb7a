/* A strict JSON scanner over bytes that are not terminated: every step checks the end first.
 *
 * Each function takes the cursor past what it read and returns 1, or returns 0: not there, or not ordinary (escapes,
 * control characters, numbers too long). 0 always means "leave the request to the generic path", so no error is kept.
 */
#ifndef HEADRACE_JSON_H
#define HEADRACE_JSON_H

#include <float.h>
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
int json_read_any_number(json_cursor *in, json_number *number);
int json_count(json_cursor *in, uint32_t *count);

/* A number, correctly rounded. Most have few digits and neither sign nor exponent: up to 15 digits and 22 decimal places
 * both parts are exact, so that one division rounds once (Clinger). */
static inline int json_read_number(json_cursor *in, json_number *number) {
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    json_space(in);
    const char *start = in->at, *at = start, *point = NULL;
    uint64_t digits = 0;
    for (; at < in->end; at++) {
        unsigned digit = (unsigned)(unsigned char)*at - (unsigned)'0';
        if (digit <= 9) {
            digits = digits * 10 + digit;
        } else if (*at == '.' && !point) {
            point = at;
        } else {
            break;
        }
    }
    int begins = at > start && point != start && (*start != '0' || at == start + 1 || point == start + 1);
    int ends = at < in->end && (*at | 0x20) != 'e' && (!point || point < at - 1) && at - start <= (point ? 16 : 15);
    if (!begins || !ends || FLT_EVAL_METHOD != 0) return json_read_any_number(in, number);
    number->integer = !point;
    number->value = point ? (double)digits / powers[at - point - 1] : (double)digits;
    in->at = at;
    return 1;
}

#endif
