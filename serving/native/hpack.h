/* Header compression for HTTP/2 (RFC 7541): blocks into fields, and what little is needed to write fields.
 *
 * Independent of Python. Nothing in a block is trusted; memory per connection is bounded by HPACK_TABLE.
 */
#ifndef HEADRACE_HPACK_H
#define HEADRACE_HPACK_H

#include <stddef.h>
#include <stdint.h>

#define HPACK_TABLE 4096  /* the dynamic table's limit: the protocol's default, which we leave as it is */
#define HPACK_BLOCK 32768 /* the longest block that may be decoded */
#define HPACK_ENTRIES (HPACK_TABLE / 32)

typedef struct {
    const char *start;
    size_t size;
} hpack_text;

typedef struct {
    hpack_text name, value;
} hpack_field;

/* The decoder's dynamic table; zeroed memory is an empty one, apart from `limit`. */
typedef struct {
    struct {
        uint32_t start;
        uint16_t name, value;
    } entries[HPACK_ENTRIES];
    uint32_t oldest, n;   /* positions in `entries`, a ring */
    uint32_t size, limit; /* as the RFC counts: 32 more than the text per entry */
    uint32_t base, used, room;
    char *text; /* of all entries; an entry's begins at start - base */
    uint32_t changes;
} hpack_table;

/* Takes one field, whose text is only valid during the call. */
typedef void (*hpack_sink)(void *host, const hpack_field *field);

/* Decodes a whole block: 0, or -1 when it is broken, after which the connection cannot go on. */
int hpack_decode(hpack_table *table, const uint8_t *block, size_t size, hpack_sink sink, void *host);
void hpack_release(hpack_table *table);

/* Writes a field that enters no table; the name needs at most 126 bytes. Returns the end. */
char *hpack_put(char *at, const char *name, const char *value, size_t size);

#endif
