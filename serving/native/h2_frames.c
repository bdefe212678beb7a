/* Frames in: each is checked as RFC 9113 says, with the error it names, and does its part. */
#include <stdlib.h>
#include <string.h>

#include "h2.h"

#define SAME_HEAD 1024      /* bytes; longer header blocks are decoded each time */

static void fail_stream(h2_connection *c, h2_stream *stream, int code) {
    h2_reset(c, stream, code);
    h2_spend(c, &c->resets);
}

/* 0 and *reset for a stream that was closed lately; -1 for one that is not known. */
static int remembered(const h2_connection *c, uint32_t id, int *reset) {
    for (uint32_t i = 0; i < H2_REMEMBERED && i < c->n_closed; i++) {
        if (c->closed[i] >> 1 != id) continue;
        *reset = (int)(c->closed[i] & 1);
        return 0;
    }
    return -1;
}

/* A frame for a stream that is not open: late ones after our reset are nothing, all others break the protocol. */
static void on_closed(h2_connection *c, const h2_frame *f, int unknown) {
    int reset;
    if (f->stream % 2 == 0 || f->stream > c->last_stream) h2_fail(c, H2_PROTOCOL_ERROR);
    else if (remembered(c, f->stream, &reset)) h2_fail(c, unknown);
    else if (!reset) h2_fail(c, H2_STREAM_CLOSED);
    else if (f->type != H2_DATA || f->size == 0) h2_spend(c, &c->control);
}

/* Take the padding off; 0 when there is more of it than frame. */
static int strip(h2_frame *f) {
    if (!(f->flags & H2_PADDED)) return 1;
    if (f->size == 0 || f->payload[0] >= f->size) return 0;
    f->size -= 1u + f->payload[0];
    f->payload++;
    return 1;
}

static void on_data(h2_connection *c, h2_frame f) {
    uint32_t whole = f.size;
    h2_stream *stream = h2_find(c, f.stream);
    c->receive_window -= whole;
    if (c->receive_window < 0 || !strip(&f)) {
        h2_fail(c, c->receive_window < 0 ? H2_FLOW_CONTROL_ERROR : H2_PROTOCOL_ERROR);
        return;
    }
    if (c->receive_window < H2_LARGEST / 2) {
        h2_put_number(c, H2_WINDOW_UPDATE, 0, (uint32_t)(H2_LARGEST - c->receive_window));
        c->receive_window = H2_LARGEST;
    }
    if (!stream) {
        on_closed(c, &f, H2_STREAM_CLOSED);
        return;
    }
    if (stream->ended || (int64_t)whole > stream->receive_window) {
        fail_stream(c, stream, stream->ended ? H2_STREAM_CLOSED : H2_FLOW_CONTROL_ERROR);
        return;
    }
    int ends = f.flags & H2_END_STREAM;
    stream->receive_window -= (int32_t)whole;
    stream->received += f.size;
    if (f.size == 0 && !ends) h2_spend(c, &c->control);
    if (whole > f.size && !ends) {
        h2_put_number(c, H2_WINDOW_UPDATE, f.stream, whole - f.size);
        stream->receive_window += (int32_t)(whole - f.size);
    }
    int64_t announced = stream->head->content_length;
    if (announced >= 0 && (stream->received > (uint64_t)announced || (ends && stream->received != (uint64_t)announced))) {
        fail_stream(c, stream, H2_PROTOCOL_ERROR);
        return;
    }
    stream->ended = ends != 0;
    grpc_data(c, stream, (const char *)f.payload, f.size);
}

/* The decoded head of a block: the last one's again where nothing differs. NULL: the connection is over. */
static h2_head *read_head(h2_connection *c, const uint8_t *block, size_t size, int trailing) {
    if (!c->table && (c->table = calloc(1, sizeof *c->table))) c->table->limit = HPACK_TABLE;
    if (c->head && !trailing && c->head_changes == c->table->changes && c->head_block.used == size &&
        memcmp(c->head_block.start, block, size) == 0) {
        c->head->refs++;
        return c->head;
    }
    h2_head *head = c->table ? h2_head_new(c->head_limit) : NULL;
    uint32_t changes = c->table ? c->table->changes : 0;
    int failed = head && hpack_decode(c->table, block, size, h2_head_take, head);
    if (!head || head->out_of_memory || failed) {
        if (head) h2_head_drop(head);
        if (failed) h2_fail(c, H2_COMPRESSION_ERROR);
        else c->broken = c->over = 1;
        return NULL;
    }
    h2_head_end(head, trailing);
    if (trailing || changes != c->table->changes || size > SAME_HEAD || size == 0) return head;
    c->head_block.used = 0;
    char *kept = h2_grow(c, &c->head_block, size);
    if (c->head) h2_head_drop(c->head);
    c->head = kept ? head : NULL;
    if (!kept) return head;
    memcpy(kept, block, size);
    c->head_changes = changes;
    head->refs++;
    return head;
}

static void end_trailers(h2_connection *c, h2_stream *stream, const h2_head *head, int ends) {
    int64_t announced = stream->head->content_length;
    if (stream->ended) {
        fail_stream(c, stream, H2_STREAM_CLOSED);
    } else if (!ends || head->malformed || (announced >= 0 && stream->received != (uint64_t)announced)) {
        fail_stream(c, stream, H2_PROTOCOL_ERROR);
    } else {
        stream->ended = 1;
        grpc_end(c, stream);
    }
}

/* A whole header block. It is decoded whatever becomes of it: the table has to stay in step. */
static void end_headers(h2_connection *c, uint32_t id, int flags, const uint8_t *block, size_t size) {
    h2_stream *stream = h2_find(c, id);
    h2_head *head = read_head(c, block, size, stream != NULL);
    int ends = flags & H2_END_STREAM;
    if (!head) return;
    if (stream) {
        end_trailers(c, stream, head, ends);
    } else if (id <= c->last_stream || id % 2 == 0) {
        h2_frame f = {H2_HEADERS, flags, id, 0, NULL};
        on_closed(c, &f, H2_PROTOCOL_ERROR);
    } else {
        c->last_stream = id;
        if (c->draining == 2 || c->n_streams == H2_STREAMS) {
            h2_put_number(c, H2_RST_STREAM, id, H2_REFUSED_STREAM);
            c->closed[c->n_closed++ % H2_REMEMBERED] = id << 1 | 1;
            h2_spend(c, &c->resets);
        } else if ((stream = h2_open(c, id, head))) {
            stream->ended = ends != 0;
            if (head->malformed || (ends && head->content_length > 0)) fail_stream(c, stream, H2_PROTOCOL_ERROR);
            else grpc_begin(c, stream);
            return;
        } else {
            return;
        }
    }
    h2_head_drop(head);
}

static void on_headers(h2_connection *c, h2_frame f) {
    uint32_t skip = f.flags & H2_PRIORITIZED ? 5 : 0;
    if (!strip(&f)) {
        h2_fail(c, H2_PROTOCOL_ERROR);
    } else if (f.size < skip) {
        h2_fail(c, H2_FRAME_SIZE_ERROR);
    } else if (f.flags & H2_END_HEADERS) {
        end_headers(c, f.stream, f.flags, f.payload + skip, f.size - skip);
    } else {
        c->block.used = 0;
        char *at = h2_grow(c, &c->block, f.size - skip);
        if (at && f.size > skip) memcpy(at, f.payload + skip, f.size - skip);
        c->block_stream = f.stream;
        c->block_flags = f.flags;
    }
}

static void on_continuation(h2_connection *c, const h2_frame *f) {
    h2_spend(c, &c->control);
    if (f->stream == 0 || f->stream != c->block_stream) {
        h2_fail(c, H2_PROTOCOL_ERROR);
        return;
    }
    if (c->block.used + f->size > HPACK_BLOCK) {
        h2_fail(c, H2_ENHANCE_YOUR_CALM);
        return;
    }
    char *at = h2_grow(c, &c->block, f->size);
    if (!at) return;
    if (f->size) memcpy(at, f->payload, f->size);
    if (!(f->flags & H2_END_HEADERS)) return;
    c->block_stream = 0;
    end_headers(c, f->stream, c->block_flags, (const uint8_t *)c->block.start, c->block.used);
}

/* All streams' windows move with the setting; 0 when one would become too large. */
static int move_windows(h2_connection *c, uint32_t value) {
    int64_t change = (int64_t)value - c->peer_window;
    for (uint32_t i = 0; i < c->n_streams; i++) {
        int64_t window = c->streams[i]->send_window + change;
        if (window > H2_LARGEST) return 0;
        c->streams[i]->send_window = (int32_t)window;
    }
    c->peer_window = (int32_t)value;
    return 1;
}

static int take_setting(h2_connection *c, uint32_t name, uint32_t value) {
    switch (name) {
    case H2_TABLE_SIZE:
        c->shrink |= value < HPACK_TABLE;
        return H2_NO_ERROR;
    case H2_ENABLE_PUSH:
        return value > 1 ? H2_PROTOCOL_ERROR : H2_NO_ERROR;
    case H2_INITIAL_WINDOW:
        return value <= H2_LARGEST && move_windows(c, value) ? H2_NO_ERROR : H2_FLOW_CONTROL_ERROR;
    case H2_MAX_FRAME_SIZE:
        return value < H2_FRAME || value > (1 << 24) - 1 ? H2_PROTOCOL_ERROR : H2_NO_ERROR;
    default:
        return H2_NO_ERROR;
    }
}

static void on_settings(h2_connection *c, const h2_frame *f) {
    int ack = f->flags & H2_ACK;
    if (f->stream) h2_fail(c, H2_PROTOCOL_ERROR);
    else if (ack ? f->size : f->size % 6) h2_fail(c, H2_FRAME_SIZE_ERROR);
    if (c->over || ack) return;
    h2_spend(c, &c->control);
    for (const uint8_t *at = f->payload; at < f->payload + f->size; at += 6) {
        int code = take_setting(c, (uint32_t)at[0] << 8 | at[1], h2_number(at + 2));
        if (code) {
            h2_fail(c, code);
            return;
        }
    }
    h2_put_frame(c, H2_SETTINGS, H2_ACK, 0, 0);
    h2_pump(c);
}

static void on_ping(h2_connection *c, const h2_frame *f) {
    if (f->stream) h2_fail(c, H2_PROTOCOL_ERROR);
    else if (f->size != 8) h2_fail(c, H2_FRAME_SIZE_ERROR);
    if (c->over) return;
    h2_spend(c, &c->control);
    if (f->flags & H2_ACK) {
        if (c->draining == 1 && memcmp(f->payload, H2_DRAINED, 8) == 0) h2_stop_taking(c);
        return;
    }
    char *at = h2_put_frame(c, H2_PING, H2_ACK, 0, 8);
    if (at) memcpy(at, f->payload, 8);
}

static void on_window_update(h2_connection *c, const h2_frame *f) {
    if (f->size != 4) {
        h2_fail(c, H2_FRAME_SIZE_ERROR);
        return;
    }
    uint32_t more = h2_number(f->payload) & H2_LARGEST;
    h2_stream *stream = f->stream ? h2_find(c, f->stream) : NULL;
    h2_spend(c, &c->control);
    if (f->stream == 0) {
        c->send_window += more;
        if (more == 0 || c->send_window > H2_LARGEST) h2_fail(c, more ? H2_FLOW_CONTROL_ERROR : H2_PROTOCOL_ERROR);
    } else if (stream) {
        if (more == 0 || (int64_t)stream->send_window + more > H2_LARGEST) {
            fail_stream(c, stream, more ? H2_FLOW_CONTROL_ERROR : H2_PROTOCOL_ERROR);
            return;
        }
        stream->send_window += (int32_t)more;
    } else if (f->stream > c->last_stream || f->stream % 2 == 0) {
        h2_fail(c, H2_PROTOCOL_ERROR);
    }
    h2_pump(c);
}

static void on_rst_stream(h2_connection *c, const h2_frame *f) {
    h2_stream *stream = h2_find(c, f->stream);
    if (f->size != 4) {
        h2_fail(c, H2_FRAME_SIZE_ERROR);
    } else if (f->stream == 0 || f->stream % 2 == 0 || f->stream > c->last_stream) {
        h2_fail(c, H2_PROTOCOL_ERROR);
    } else if (stream) {
        if (stream->given) c->host->cancel(c, stream);
        h2_close(c, stream, 0);
        h2_spend(c, &c->resets);
    } else {
        h2_spend(c, &c->control);
    }
}

static void on_priority(h2_connection *c, const h2_frame *f) {
    h2_stream *stream = h2_find(c, f->stream);
    h2_spend(c, &c->control);
    if (f->stream == 0) h2_fail(c, H2_PROTOCOL_ERROR);
    else if (f->size != 5 && stream) fail_stream(c, stream, H2_FRAME_SIZE_ERROR);
    else if (f->size != 5) h2_fail(c, H2_FRAME_SIZE_ERROR);
}

static void on_goaway(h2_connection *c, const h2_frame *f) {
    if (f->stream) h2_fail(c, H2_PROTOCOL_ERROR);
    else if (f->size < 8) h2_fail(c, H2_FRAME_SIZE_ERROR);
    else h2_spend(c, &c->control);
}

void h2_take(h2_connection *c, const h2_frame *f) {
    c->frames++;
    if (!c->settled && (f->type != H2_SETTINGS || f->flags & H2_ACK)) {
        h2_fail(c, H2_PROTOCOL_ERROR);
        return;
    }
    c->settled = 1;
    if (c->block_stream && f->type != H2_CONTINUATION) {
        h2_fail(c, H2_PROTOCOL_ERROR);
        return;
    }
    switch (f->type) {
    case H2_DATA:
    case H2_HEADERS:
        if (f->stream == 0) h2_fail(c, H2_PROTOCOL_ERROR);
        else if (f->type == H2_DATA) on_data(c, *f);
        else on_headers(c, *f);
        return;
    case H2_PRIORITY: on_priority(c, f); return;
    case H2_RST_STREAM: on_rst_stream(c, f); return;
    case H2_SETTINGS: on_settings(c, f); return;
    case H2_PUSH_PROMISE: h2_fail(c, H2_PROTOCOL_ERROR); return;
    case H2_PING: on_ping(c, f); return;
    case H2_GOAWAY: on_goaway(c, f); return;
    case H2_WINDOW_UPDATE: on_window_update(c, f); return;
    case H2_CONTINUATION: on_continuation(c, f); return;
    default: h2_spend(c, &c->control); /* types of extensions are to be ignored */
    }
}
