/* Protocol Buffers, as far as ModelInfer needs them. A function that returns 0 means "leave it to the generic path". */
#ifndef HEADRACE_PROTO_H
#define HEADRACE_PROTO_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PROTO_VARINT = 0, PROTO_BYTES = 2 };

typedef struct {
    const char *at, *end;
} proto_cursor;

static inline int proto_read_varint(proto_cursor *in, uint64_t *number) {
    *number = 0;
    for (int shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint64_t byte = (unsigned char)*in->at++;
        if (shift == 63 && byte > 1) return 0;
        *number |= (byte & 127) << shift;
        if (byte < 128) return 1;
    }
    return 0;
}

/* A field's number, from 1 to 15, and its type in one: number << 3 | type. */
static inline int proto_read_tag(proto_cursor *in, int *tag) {
    *tag = (unsigned char)*in->at++;
    return *tag < 128;
}

static inline int proto_read_bytes(proto_cursor *in, proto_cursor *bytes) {
    uint64_t size;
    if (!proto_read_varint(in, &size) || size > (uint64_t)(in->end - in->at)) return 0;
    *bytes = (proto_cursor){in->at, in->at + size};
    in->at += size;
    return 1;
}

static inline size_t proto_size(const proto_cursor *in) { return (size_t)(in->end - in->at); }

static inline size_t proto_varint_size(uint64_t number) {
    size_t size = 1;
    while (number >>= 7) size++;
    return size;
}

static inline char *proto_put_varint(char *at, uint64_t number) {
    for (; number >= 128; number >>= 7) *at++ = (char)(number | 128);
    *at++ = (char)number;
    return at;
}

static inline char *proto_put_head(char *at, int field, size_t size) {
    *at++ = (char)(field << 3 | PROTO_BYTES);
    return proto_put_varint(at, size);
}

static inline char *proto_put_bytes(char *at, int field, const char *bytes, size_t size) {
    at = proto_put_head(at, field, size);
    memcpy(at, bytes, size);
    return at + size;
}

#endif
