/* The head of a request: what HTTP/2 demands of it, and what gRPC says in it. */
#include <stdlib.h>
#include <string.h>

#include "h2.h"

#define INFER "/inference.GRPCInferenceService/ModelInfer"

enum { METHOD = 1, SCHEME = 2, PATH = 4, AUTHORITY = 8, REGULAR = 16, LENGTH = 32, TIMEOUT = 64 };

#define IS(text, word) ((text).size == sizeof(word) - 1 && memcmp((text).start, word, sizeof(word) - 1) == 0)
#define STARTS(text, word) ((text).size >= sizeof(word) - 1 && memcmp((text).start, word, sizeof(word) - 1) == 0)

h2_head *h2_head_new(uint32_t limit) {
    h2_head *head = calloc(1, sizeof *head);
    if (!head) return NULL;
    head->refs = 1;
    head->limit = limit;
    head->content_length = -1;
    head->timeout = -1.0;
    return head;
}

void h2_head_drop(h2_head *head) {
    if (--head->refs) return;
    free(head->text);
    free(head);
}

/* A token in lower case. */
static int is_name(hpack_text name) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < name.size; i++) {
        char c = name.start[i];
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) continue;
        if (c == 0 || !strchr(others, c)) return 0;
    }
    return name.size > 0;
}

static int is_blank(char c) { return c == ' ' || c == '\t'; }

static int is_value(hpack_text value) {
    for (size_t i = 0; i < value.size; i++) {
        char c = value.start[i];
        if (c == 0 || c == '\r' || c == '\n') return 0;
    }
    return value.size == 0 || (!is_blank(value.start[0]) && !is_blank(value.start[value.size - 1]));
}

/* Fields that HTTP/1.1 uses for its connections; the names are those of RFC 9113, 8.2.2. */
static int is_of_connections(hpack_text name) {
    return IS(name, "connection") || IS(name, "proxy-connection") || IS(name, "keep-alive") ||
           IS(name, "transfer-encoding") || IS(name, "upgrade");
}

static int read_length(hpack_text value, int64_t *length) {
    int64_t number = 0;
    if (value.size == 0 || value.size > 18) return 0;
    for (size_t i = 0; i < value.size; i++) {
        if (value.start[i] < '0' || value.start[i] > '9') return 0;
        number = number * 10 + (value.start[i] - '0');
    }
    int same = *length < 0 || *length == number;
    *length = number;
    return same;
}

/* At most 8 digits and a unit; -2 when it is something else. */
static double read_timeout(hpack_text value) {
    static const char units[] = "HMSmun";
    static const double seconds[] = {3600.0, 60.0, 1.0, 1e-3, 1e-6, 1e-9};
    double number = 0.0;
    if (value.size < 2 || value.size > 9) return -2.0;
    for (size_t i = 0; i + 1 < value.size; i++) {
        if (value.start[i] < '0' || value.start[i] > '9') return -2.0;
        number = number * 10.0 + (value.start[i] - '0');
    }
    char unit = value.start[value.size - 1];
    const char *found = unit ? strchr(units, unit) : NULL;
    return found ? number * seconds[found - units] : -2.0;
}

static int is_grpc(hpack_text type) {
    if (!STARTS(type, "application/grpc")) return 0;
    hpack_text rest = {type.start + 16, type.size - 16};
    if (STARTS(rest, "+proto")) rest = (hpack_text){rest.start + 6, rest.size - 6};
    return rest.size == 0 || rest.start[0] == ';' || (rest.start[0] == ' ' && memchr(rest.start, ';', rest.size));
}

/* A field whose name begins with a colon; 0 when it may not be here. */
static int take_pseudo(h2_head *head, const hpack_field *field) {
    unsigned which = IS(field->name, ":method") ? METHOD
                     : IS(field->name, ":path") ? PATH
                     : IS(field->name, ":scheme") ? SCHEME
                     : IS(field->name, ":authority") ? AUTHORITY : 0;
    if (!which || head->seen & (which | REGULAR) || !is_value(field->value)) return 0;
    head->seen |= which;
    if (which == METHOD) head->post = IS(field->value, "POST");
    if (which == PATH) {
        head->infer = IS(field->value, INFER);
        return field->value.size > 0 && (field->value.start[0] == '/' || IS(field->value, "*"));
    }
    return field->value.size > 0 || which == AUTHORITY;
}

static int take_regular(h2_head *head, const hpack_field *field) {
    hpack_text name = field->name, value = field->value;
    head->seen |= REGULAR;
    if (!is_name(name) || !is_value(value) || is_of_connections(name)) return 0;
    if (IS(name, "te")) return IS(value, "trailers");
    if (IS(name, "content-length")) return read_length(value, &head->content_length);
    if (IS(name, "content-type")) head->grpc = is_grpc(value) != 0;
    if (IS(name, "grpc-timeout")) head->timeout = read_timeout(value);
    return 1;
}

static void keep(h2_head *head, const hpack_field *field) {
    uint32_t sizes[2] = {(uint32_t)field->name.size, (uint32_t)field->value.size};
    size_t more = sizeof sizes + sizes[0] + sizes[1];
    if (head->room - head->used < more) {
        size_t room = head->room ? head->room * 2 : 512;
        if (room - head->used < more) room = head->used + more;
        char *text = realloc(head->text, room);
        if (!text) {
            head->out_of_memory = 1;
            return;
        }
        head->text = text;
        head->room = room;
    }
    char *at = head->text + head->used;
    memcpy(at, sizes, sizeof sizes);
    memcpy(at + sizeof sizes, field->name.start, sizes[0]);
    if (sizes[1]) memcpy(at + sizeof sizes + sizes[0], field->value.start, sizes[1]);
    head->used += more;
}

void h2_head_take(void *host, const hpack_field *field) {
    h2_head *head = host;
    size_t size = field->name.size + field->value.size + 32;
    if (size > head->limit - head->size) head->too_large = 1;
    if (head->too_large || head->malformed || head->out_of_memory) return;
    head->size += (uint32_t)size;
    int pseudo = field->name.size && field->name.start[0] == ':';
    if (!(pseudo ? take_pseudo(head, field) : take_regular(head, field))) head->malformed = 1;
    else keep(head, field);
}

/* All fields are there. `trailing`: they came after the body, where none with a colon may be. */
void h2_head_end(h2_head *head, int trailing) {
    unsigned needed = METHOD | SCHEME | PATH;
    if (head->too_large) return;
    if (trailing ? head->seen & needed : (head->seen & needed) != needed) head->malformed = 1;
}
