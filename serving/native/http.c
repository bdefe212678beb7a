/* Header lines. Only names known to change nothing, or handled here, are ordinary: a list of what to let through is
 * safe where a list of what to stop would have to be complete. */
#define _POSIX_C_SOURCE 200809L /* for gmtime_r */
#include "http.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { IGNORED = 1, PREFIX, LENGTH, TYPE, HOST, CONNECTION, REQUEST_ID };

typedef struct {
    unsigned char size, role;
    const char *name;
} known_header;

#define KNOWN(role, name) {sizeof(name) - 1, role, name}

/* Sorted by how often they come. */
static const known_header known_headers[] = {
    KNOWN(HOST, "host"),
    KNOWN(LENGTH, "content-length"),
    KNOWN(TYPE, "content-type"),
    KNOWN(IGNORED, "user-agent"),
    KNOWN(IGNORED, "accept"),
    KNOWN(IGNORED, "accept-encoding"),
    KNOWN(CONNECTION, "connection"),
    KNOWN(REQUEST_ID, "x-request-id"),
    KNOWN(PREFIX, "x-forwarded-"),
    KNOWN(IGNORED, "traceparent"),
    KNOWN(IGNORED, "tracestate"),
    KNOWN(PREFIX, "x-envoy-"),
    KNOWN(PREFIX, "x-b3-"),
    KNOWN(IGNORED, "b3"),
    KNOWN(IGNORED, "baggage"),
    KNOWN(IGNORED, "forwarded"),
    KNOWN(IGNORED, "via"),
    KNOWN(IGNORED, "x-real-ip"),
    KNOWN(IGNORED, "accept-language"),
    KNOWN(IGNORED, "cache-control"),
    KNOWN(IGNORED, "pragma"),
    KNOWN(IGNORED, "date"),
    KNOWN(IGNORED, "keep-alive"),
    KNOWN(IGNORED, "referer"),
    KNOWN(IGNORED, "dnt"),
    KNOWN(PREFIX, "sec-fetch-"),
    KNOWN(PREFIX, "sec-ch-"),
    KNOWN(IGNORED, "x-scheme"),
    KNOWN(IGNORED, "x-request-start"),
    KNOWN(IGNORED, "x-correlation-id"),
    KNOWN(IGNORED, "x-client-trace-id"),
    KNOWN(IGNORED, "x-original-forwarded-for"),
    KNOWN(IGNORED, "x-ot-span-context"),
    KNOWN(IGNORED, "x-amzn-trace-id"),
    KNOWN(IGNORED, "x-cloud-trace-context"),
    KNOWN(PREFIX, "x-datadog-"),
    KNOWN(IGNORED, "uber-trace-id"),
    KNOWN(PREFIX, "cf-"),
};

static inline char lowered(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

static int same_name(const char *text, const char *name, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (lowered(text[i]) != name[i]) return 0;
    }
    return 1;
}

/* What follows a known prefix: letters, digits and hyphens. */
static int is_suffix(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        char c = lowered(text[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return 0;
    }
    return 1;
}

static int find_role(const char *name, size_t size) {
    char first = lowered(name[0]);
    for (size_t i = 0; i < sizeof known_headers / sizeof *known_headers; i++) {
        const known_header *known = &known_headers[i];
        if (known->name[0] != first || (known->role == PREFIX ? size <= known->size : size != known->size)) continue;
        if (same_name(name, known->name, known->size)) {
            return is_suffix(name + known->size, size - known->size) ? known->role : 0;
        }
    }
    return 0;
}

static int is_value(const char *text, size_t size, const char *expected) {
    return strlen(expected) == size && same_name(text, expected, size);
}

static int read_length(const char *text, size_t size, size_t *length) {
    if (size == 0 || size > 9) return 0;
    *length = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return 0;
        *length = *length * 10 + (size_t)(text[i] - '0');
    }
    return 1;
}

static int is_visible(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f) return 0;
    }
    return size > 0;
}

static int is_letter_or_digit(char c) {
    return (c >= '0' && c <= '9') || (lowered(c) >= 'a' && lowered(c) <= 'z');
}

/* A name or an address, with or without a port; what else RFC 9110, section 7.2 lets be a host is not ordinary. */
static int is_host(const char *text, size_t size) {
    size_t i = 0;
    if (size && text[0] == '[') {
        for (i = 1; i < size && (is_letter_or_digit(text[i]) || text[i] == ':' || text[i] == '.');) i++;
        if (i == size || text[i++] != ']') return 0;
    } else {
        while (i < size && (is_letter_or_digit(text[i]) || text[i] == '.' || text[i] == '-' || text[i] == '_')) i++;
    }
    if (i < size && text[i] == ':') {
        for (i++; i < size && text[i] >= '0' && text[i] <= '9';) i++;
    }
    return size > 0 && i == size;
}

/* IMF-fixdate, RFC 9110, section 5.6.7; strftime would write the names of a locale. */
const char *http_date_line(http_date *date) {
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm at;
    if ((long long)now != date->second && gmtime_r(&now, &at)) {
        date->second = (long long)now;
        snprintf(date->line, sizeof date->line, "date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[at.tm_wday],
                 at.tm_mday, months[at.tm_mon], at.tm_year + 1900, at.tm_hour, at.tm_min, at.tm_sec);
    }
    return date->line;
}

static int is_json(const char *text, size_t size) {
    return is_value(text, size, "application/json") || is_value(text, size, "application/json; charset=utf-8") ||
           is_value(text, size, "application/json;charset=utf-8");
}

/* One header; what must come once is noted in *seen, a bit per role. */
static int take_header(int role, const char *text, size_t size, http_request *request, unsigned *seen) {
    if (role >= LENGTH) {
        if (*seen & 1u << role) return 0;
        *seen |= 1u << role;
    }
    switch (role) {
    case IGNORED:
    case PREFIX:
        return 1;
    case HOST:
        return is_host(text, size);
    case LENGTH:
        request->length = text;
        return read_length(text, size, &request->body_size);
    case TYPE:
        return is_json(text, size);
    case CONNECTION:
        return is_value(text, size, "keep-alive");
    case REQUEST_ID:
        request->request_id = text;
        request->request_id_size = size;
        return size <= 128 && is_visible(text, size);
    default:
        return 0;
    }
}

/* The end of a header value: the CR of its CRLF; NULL when there is none or a character may not be in a value. */
static const char *find_line_end(const char *at, const char *end) {
    const char *stop = memchr(at, '\r', (size_t)(end - at));
    if (!stop || end - stop < 2 || stop[1] != '\n') return NULL;
    unsigned char refused = 0; /* no early exit: the loop becomes vector instructions */
    for (; at < stop; at++) {
        unsigned char c = (unsigned char)*at;
        refused |= (unsigned char)((c < 0x20) & (c != '\t')) | (unsigned char)(c == 0x7f);
    }
    return refused ? NULL : stop;
}

/* The headers as they were last time, with any length; what follows them is the body. */
static int recall(const http_memory *memory, const char *at, const char *end, http_request *request) {
    if ((size_t)(end - at) < memory->before + memory->after || memcmp(at, memory->bytes, memory->before) != 0) return 0;
    const char *digits = at + memory->before, *rest = digits;
    while (rest < end && *rest >= '0' && *rest <= '9') rest++;
    if (!read_length(digits, (size_t)(rest - digits), &request->body_size)) return 0;
    if ((size_t)(end - rest) != memory->after + request->body_size) return 0;
    if (memcmp(rest, memory->bytes + memory->before, memory->after) != 0) return 0;
    request->request_id = NULL;
    request->body = rest + memory->after;
    return 1;
}

static void remember(http_memory *memory, const char *at, const http_request *request) {
    size_t size = (size_t)(request->body - at), before = (size_t)(request->length - at);
    if (request->request_id || size > HTTP_LONGEST_HEAD) return;
    const char *rest = request->length;
    while (*rest >= '0' && *rest <= '9') rest++;
    memory->before = before;
    memory->after = (size_t)(request->body - rest);
    memcpy(memory->bytes, at, before);
    memcpy(memory->bytes + before, rest, memory->after);
}

static int read_headers(const char *at, const char *end, http_request *request) {
    unsigned seen = 0;
    request->request_id = NULL;
    while (end - at >= 2 && !(at[0] == '\r' && at[1] == '\n')) {
        const char *stop = find_line_end(at, end);
        const char *colon = stop ? memchr(at, ':', (size_t)(stop - at)) : NULL;
        if (!colon || colon == at) return 0;
        int role = find_role(at, (size_t)(colon - at));
        const char *text = colon + 1, *last = stop;
        while (text < last && (*text == ' ' || *text == '\t')) text++;
        while (last > text && (last[-1] == ' ' || last[-1] == '\t')) last--;
        if (!take_header(role, text, (size_t)(last - text), request, &seen)) return 0;
        at = stop + 2;
    }
    if (end - at < 2) return 0;
    request->body = at + 2;
    unsigned needed = 1u << LENGTH | 1u << TYPE | 1u << HOST;
    return (seen & needed) == needed && (size_t)(end - request->body) == request->body_size;
}

int http_read_headers(const char *at, const char *end, http_memory *memory, http_request *request) {
    if (memory->before && recall(memory, at, end, request)) return 1;
    if (!read_headers(at, end, request)) return 0;
    remember(memory, at, request);
    return 1;
}
