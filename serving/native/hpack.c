/* The decoder of hpack.h. */
#include "hpack.h"

#include <stdlib.h>
#include <string.h>

#include "hpack_tables.h"

#define LARGEST (1u << 28) /* no length or index in a block of HPACK_BLOCK bytes is near it */
#define SCRATCH (HPACK_BLOCK / 5 * 8 + 8 + HPACK_TABLE)

typedef struct {
    const uint8_t *at, *end;
    char *scratch, *last; /* room for decoded text */
} reader;

/* Names and values of a dynamic entry; 0 is the newest. */
static hpack_field entry_at(const hpack_table *table, uint32_t index) {
    uint32_t position = (table->oldest + table->n - 1 - index) % HPACK_ENTRIES;
    const char *start = table->text + (table->entries[position].start - table->base);
    uint16_t name = table->entries[position].name;
    return (hpack_field){{start, name}, {start + name, table->entries[position].value}};
}

static void evict(hpack_table *table) {
    uint32_t oldest = table->oldest;
    table->size -= 32u + table->entries[oldest].name + table->entries[oldest].value;
    table->oldest = (oldest + 1) % HPACK_ENTRIES;
    table->n--;
}

static void shrink(hpack_table *table, uint32_t limit) {
    while (table->n && table->size > limit) evict(table);
}

/* Room for more text behind what is used: live text moves to the front, then memory grows. */
static int make_room(hpack_table *table, uint32_t more) {
    if (table->used + more <= table->room) return 0;
    uint32_t first = table->n ? table->entries[table->oldest].start - table->base : table->used;
    if (first) memmove(table->text, table->text + first, table->used - first);
    table->used -= first;
    table->base += first;
    if (table->used + more <= table->room) return 0;
    uint32_t room = table->room * 2 > table->used + more ? table->room * 2 : table->used + more;
    char *text = realloc(table->text, room);
    if (!text) return -1;
    table->text = text;
    table->room = room;
    return 0;
}

/* The text must not lie in the table itself, which may move. */
static int insert(hpack_table *table, const hpack_field *field) {
    uint32_t text = (uint32_t)(field->name.size + field->value.size), size = text + 32;
    table->changes++;
    shrink(table, size > table->limit ? 0 : table->limit - size);
    if (size > table->limit) return 0;
    if (make_room(table, text)) return -1;
    uint32_t position = (table->oldest + table->n++) % HPACK_ENTRIES;
    table->entries[position].start = table->base + table->used;
    table->entries[position].name = (uint16_t)field->name.size;
    table->entries[position].value = (uint16_t)field->value.size;
    if (text) {
        memcpy(table->text + table->used, field->name.start, field->name.size);
        memcpy(table->text + table->used + field->name.size, field->value.start, field->value.size);
    }
    table->used += text;
    table->size += size;
    return 0;
}

static int read_integer(reader *in, int bits, uint32_t *number) {
    uint32_t mask = (1u << bits) - 1;
    *number = *in->at++ & mask;
    if (*number < mask) return 0;
    for (int shift = 0; shift <= 28; shift += 7) {
        if (in->at == in->end) return -1;
        uint32_t more = *in->at++;
        if ((uint64_t)*number + ((uint64_t)(more & 127) << shift) > LARGEST) return -1;
        *number += (more & 127) << shift;
        if (more < 128) return 0;
    }
    return -1;
}

/* Huffman-coded bytes into text; the number of characters, or -1. */
static ptrdiff_t expand(const uint8_t *at, const uint8_t *end, char *out) {
    uint64_t window = 0; /* the next bits, from the top */
    int have = 0;
    char *start = out;
    for (;;) {
        for (; have <= 56 && at < end; have += 8) window |= (uint64_t)*at++ << (56 - have);
        uint32_t code = 0, symbols = 0;
        int length = 4, found = 0; /* no code is shorter than 5 bits */
        while (!found && length < have && length < HUFFMAN_LONGEST) {
            length++;
            code <<= 1;
            uint32_t bits = (uint32_t)(window >> (64 - length)), count = huffman_counts[length];
            if (bits - code < count && bits >= code) {
                symbols += bits - code;
                found = 1;
            } else {
                symbols += count;
                code += count;
            }
        }
        if (!found) { /* what is left has to be padding: less than a byte of ones */
            return have < 8 && (have == 0 || window >> (64 - have) == (1u << have) - 1) ? out - start : -1;
        }
        if (huffman_symbols[symbols] == HUFFMAN_END) return -1;
        *out++ = (char)huffman_symbols[symbols];
        window <<= length;
        have -= length;
    }
}

static int read_text(reader *in, hpack_text *text) {
    uint32_t size;
    if (in->at == in->end) return -1;
    int coded = *in->at & 0x80;
    if (read_integer(in, 7, &size) || size > (size_t)(in->end - in->at)) return -1;
    const uint8_t *start = in->at;
    in->at += size;
    *text = (hpack_text){(const char *)start, size};
    if (!coded) return 0;
    if ((size_t)(in->last - in->scratch) < size / 5 * 8 + 8) return -1;
    ptrdiff_t expanded = expand(start, in->at, in->scratch);
    if (expanded < 0) return -1;
    *text = (hpack_text){in->scratch, (size_t)expanded};
    in->scratch += expanded;
    return 0;
}

static int find(const hpack_table *table, uint32_t index, hpack_field *field) {
    if (index == 0 || index > HPACK_STATIC + table->n) return -1;
    *field = index <= HPACK_STATIC ? static_fields[index - 1] : entry_at(table, index - HPACK_STATIC - 1);
    return 0;
}

/* A field that is spelled out, with its name or the index of one. */
static int read_literal(hpack_table *table, reader *in, int bits, hpack_field *field) {
    uint32_t index;
    if (read_integer(in, bits, &index)) return -1;
    if (index == 0) return read_text(in, &field->name) || read_text(in, &field->value);
    if (find(table, index, field)) return -1;
    memcpy(in->scratch, field->name.start, field->name.size); /* adding the field may move the table's text */
    field->name.start = in->scratch;
    in->scratch += field->name.size;
    return read_text(in, &field->value);
}

static int read_limit(hpack_table *table, reader *in) {
    uint32_t limit;
    if (read_integer(in, 5, &limit) || limit > HPACK_TABLE) return -1;
    table->changes += limit != table->limit;
    table->limit = limit;
    shrink(table, limit);
    return 0;
}

int hpack_decode(hpack_table *table, const uint8_t *block, size_t size, hpack_sink sink, void *host) {
    char scratch[SCRATCH];
    reader in = {block, block + size, scratch, scratch + SCRATCH};
    int begun = 0;
    if (size > HPACK_BLOCK) return -1;
    while (in.at < in.end) {
        uint8_t first = *in.at;
        uint32_t index;
        hpack_field field;
        in.scratch = scratch;
        if (first >> 5 == 1) { /* 001: a new limit, before any field */
            if (begun || read_limit(table, &in)) return -1;
            continue;
        }
        begun = 1;
        if (first >> 7) { /* 1: indexed */
            if (read_integer(&in, 7, &index) || find(table, index, &field)) return -1;
        } else if (first >> 6) { /* 01: literal that enters the table */
            if (read_literal(table, &in, 6, &field) || insert(table, &field)) return -1;
        } else if (read_literal(table, &in, 4, &field)) { /* 0000, 0001: literal that does not */
            return -1;
        }
        sink(host, &field);
    }
    return 0;
}

void hpack_release(hpack_table *table) {
    free(table->text);
}

char *hpack_put(char *at, const char *name, const char *value, size_t size) {
    size_t name_size = strlen(name);
    *at++ = 0; /* literal, in no table, with a new name */
    *at++ = (char)name_size;
    memcpy(at, name, name_size);
    at += name_size;
    if (size < 127) {
        *at++ = (char)size;
    } else {
        *at++ = 127;
        for (size_t rest = size - 127;; rest >>= 7) {
            *at++ = (char)(rest < 128 ? rest : (rest & 127) | 128);
            if (rest < 128) break;
        }
    }
    memcpy(at, value, size);
    return at + size;
}
