/* The JSON scanner of json.h. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <float.h>
#include <string.h>

#include "json.h"

#define LONGEST_NUMBER 63

int json_word(json_cursor *in, const char *word, size_t size) {
    json_space(in);
    if ((size_t)(in->end - in->at) < size || memcmp(in->at, word, size) != 0) return 0;
    in->at += size;
    return 1;
}

/* A string without escapes; its bytes are not checked to be UTF-8 unless they are ASCII. */
int json_string(json_cursor *in, json_text *text) {
    if (!json_take(in, '"')) return 0;
    const char *start = in->at;
    unsigned char all = 0;
    for (; in->at < in->end; in->at++) {
        unsigned char c = (unsigned char)*in->at;
        if (c == '"') {
            *text = (json_text){start, (size_t)(in->at - start), all < 0x80};
            in->at++;
            return 1;
        }
        if (c < 0x20 || c == '\\') return 0;
        all |= c;
    }
    return 0;
}

static inline int is_digit(const char *at, const char *end) { return at < end && *at >= '0' && *at <= '9'; }

/* Digits into a number of at most 19 of them; *digits counts from the first that is not zero. */
static const char *read_digits(const char *at, const char *end, uint64_t *number, int *digits) {
    for (; is_digit(at, end); at++) {
        if (*digits < 19) *number = *number * 10 + (uint64_t)(*at - '0');
        if (*digits || *at != '0') ++*digits;
    }
    return at;
}

/* Any number, through Python's own correctly rounded and locale-free conversion. */
static int convert(const char *start, const char *end, double *value) {
    char copy[LONGEST_NUMBER + 1];
    size_t size = (size_t)(end - start);
    if (size > LONGEST_NUMBER) return 0;
    memcpy(copy, start, size);
    copy[size] = 0;
    *value = PyOS_string_to_double(copy, NULL, NULL);
    if (*value == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

/* Up to 2^53 and 22 decimal places both parts are exact, so one operation rounds once: the correct result (Clinger). */
static int compose(uint64_t number, int places, double *value) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (FLT_EVAL_METHOD != 0 || number > (uint64_t)1 << 53 || places > 22) return 0;
    *value = (double)number / powers[places];
    return 1;
}

int json_read_any_number(json_cursor *in, json_number *number) {
    json_space(in);
    const char *start = in->at, *at = start, *end = in->end;
    uint64_t mantissa = 0;
    int digits = 0, places = 0, exponent = 0, negative = at < end && *at == '-';
    at += negative;
    if (!is_digit(at, end)) return 0;
    if (*at == '0' && is_digit(at + 1, end)) return 0;
    at = read_digits(at, end, &mantissa, &digits);
    number->integer = 1;
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        if (!is_digit(at, end)) return 0;
        if (*at == '0' && !is_digit(at + 1, end)) { /* as clients write whole numbers */
            fraction = ++at;
        } else {
            at = read_digits(at, end, &mantissa, &digits);
        }
        places = at - fraction > LONGEST_NUMBER ? LONGEST_NUMBER : (int)(at - fraction);
        number->integer = 0;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        if (!is_digit(at, end)) return 0;
        while (is_digit(at, end)) at++;
        exponent = 1;
        number->integer = 0;
    }
    in->at = at;
    if (!exponent && digits < 19 && compose(mantissa, places, &number->value)) {
        if (negative) number->value = -number->value;
        return !negative || number->value != 0.0;
    }
    return convert(start, at, &number->value) && (!negative || number->value != 0.0);
}

/* A positive integer of at most 9 digits. */
int json_count(json_cursor *in, uint32_t *count) {
    json_number number;
    if (!json_read_number(in, &number) || !number.integer) return 0;
    if (!(number.value >= 1.0 && number.value < 1e9)) return 0;
    *count = (uint32_t)number.value;
    return 1;
}
