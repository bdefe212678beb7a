/* Streams, and every frame that goes out: within the peer's windows, long answers in turns. */
#include "h2.h"

#include <stdlib.h>
#include <string.h>

#define SMALL 1024 /* bytes; DATA frames of fewer bring too little forward to earn the peer more control frames */

/* Room at the end of a buffer, counted as used; NULL without memory, and then the connection is broken. */
char *h2_grow(h2_connection *c, h2_buffer *buffer, size_t more) {
    if (!buffer->start || buffer->room - buffer->used < more) {
        size_t room = buffer->room ? buffer->room * 2 : 512;
        if (room - buffer->used < more) room = buffer->used + more;
        char *start = realloc(buffer->start, room);
        if (!start) {
            c->broken = c->over = 1;
            return NULL;
        }
        buffer->start = start;
        buffer->room = room;
    }
    buffer->used += more;
    return buffer->start + buffer->used - more;
}

/* A frame's head; returns where its payload goes, or NULL. */
char *h2_put_frame(h2_connection *c, int type, int flags, uint32_t stream, uint32_t size) {
    uint8_t *at = (uint8_t *)h2_grow(c, &c->out, 9 + (size_t)size);
    if (!at) return NULL;
    h2_store(at, size << 8 | (uint32_t)type);
    at[4] = (uint8_t)flags;
    h2_store(at + 5, stream);
    return (char *)at + 9;
}

/* RST_STREAM or WINDOW_UPDATE. */
void h2_put_number(h2_connection *c, int type, uint32_t stream, uint32_t number) {
    char *at = h2_put_frame(c, type, 0, stream, 4);
    if (at) h2_store((uint8_t *)at, number);
}

void h2_put_goaway(h2_connection *c, uint32_t last, int code) {
    char *at = h2_put_frame(c, H2_GOAWAY, 0, 0, 8);
    if (!at) return;
    h2_store((uint8_t *)at, last);
    h2_store((uint8_t *)at + 4, (uint32_t)code);
}

/* A whole header block of at most one frame. */
void h2_put_headers(h2_connection *c, uint32_t stream, int flags, const char *block, size_t size) {
    char *at = h2_put_frame(c, H2_HEADERS, flags | H2_END_HEADERS, stream, (uint32_t)size + (c->shrink ? 1 : 0));
    if (!at) return;
    if (c->shrink) *at++ = 0x20;
    c->shrink = 0;
    memcpy(at, block, size);
}

/* End the connection: the peer broke the protocol, or asks for too much. */
void h2_fail(h2_connection *c, int code) {
    if (c->over) return;
    h2_put_goaway(c, c->last_stream, code);
    c->over = 1;
}

/* Take from a budget; the connection ends where nothing is left of it. */
void h2_spend(h2_connection *c, int *budget) {
    if (--*budget < 0) h2_fail(c, H2_ENHANCE_YOUR_CALM);
}

h2_stream *h2_find(const h2_connection *c, uint32_t id) {
    for (uint32_t i = c->n_streams; i-- > 0;) {
        if (c->streams[i]->id == id) return c->streams[i];
    }
    return NULL;
}

/* A new stream, taking the reference to its head; NULL without memory. */
h2_stream *h2_open(h2_connection *c, uint32_t id, h2_head *head) {
    h2_stream *stream = c->spare ? c->spare : malloc(sizeof *stream);
    c->spare = NULL;
    if (stream && c->n_streams == c->room) {
        uint32_t room = c->room ? c->room * 2 : 4;
        h2_stream **streams = realloc(c->streams, room * sizeof *streams);
        if (streams) {
            c->streams = streams;
            c->room = room;
        }
    }
    if (!stream || c->n_streams == c->room) {
        free(stream);
        h2_head_drop(head);
        c->broken = c->over = 1;
        return NULL;
    }
    memset(stream, 0, sizeof *stream);
    stream->id = id;
    stream->head = head;
    stream->send_window = c->peer_window;
    stream->receive_window = H2_WINDOW;
    stream->since = c->clock;
    c->streams[c->n_streams++] = stream;
    return stream;
}

static void free_stream(h2_connection *c, h2_stream *stream) {
    h2_head_drop(stream->head);
    grpc_drop_message(c, stream);
    free(stream->pending);
    if (c->spare) free(stream);
    else c->spare = stream;
}

/* The room that a long message had is for those that wait. */
void h2_return_grant(h2_connection *c, h2_stream *stream) {
    c->granted -= stream->granted;
    stream->granted = 0;
    for (uint32_t i = 0; i < c->n_streams; i++) {
        if (c->streams[i]->waiting) grpc_grant(c, c->streams[i]);
    }
}

/* Forget a stream. `reset`: the peer does not know yet, so its frames may still come. */
void h2_close(h2_connection *c, h2_stream *stream, int reset) {
    uint32_t i = c->n_streams;
    while (c->streams[--i] != stream) continue;
    memmove(c->streams + i, c->streams + i + 1, (--c->n_streams - i) * sizeof *c->streams);
    c->closed[c->n_closed++ % H2_REMEMBERED] = stream->id << 1 | (uint32_t)(reset != 0);
    if (stream->granted) h2_return_grant(c, stream);
    free_stream(c, stream);
    if (c->draining == 2 && c->n_streams == 0) c->over = 1;
}

/* End one stream with an error; the host hears of it when it was called. */
void h2_reset(h2_connection *c, h2_stream *stream, int code) {
    h2_put_number(c, H2_RST_STREAM, stream->id, (uint32_t)code);
    if (stream->given) c->host->cancel(c, stream);
    h2_close(c, stream, 1);
}

static void send_some(h2_connection *c, h2_stream *stream) {
    int64_t size = (int64_t)(stream->size - stream->sent);
    if (size > H2_FRAME) size = H2_FRAME;
    if (size > stream->send_window) size = stream->send_window;
    if (size > c->send_window) size = c->send_window;
    char *at = size > 0 ? h2_put_frame(c, H2_DATA, 0, stream->id, (uint32_t)size) : NULL;
    if (!at) return;
    memcpy(at, stream->pending + stream->sent, (size_t)size);
    stream->sent += (size_t)size;
    stream->send_window -= (int32_t)size;
    c->send_window -= size;
    stream->since = c->clock;
    if (size >= SMALL && c->control < H2_CONTROL) c->control += 4;
}

/* Send what the windows allow of all answers, a frame each in turn. */
void h2_pump(h2_connection *c) {
    int moved = 1;
    while (moved && !c->over && !c->paused && c->send_window > 0) {
        moved = 0;
        for (uint32_t i = 0; i < c->n_streams && !c->broken; i++) {
            h2_stream *stream = c->streams[i];
            if (!stream->pending || stream->send_window <= 0 || c->send_window <= 0) continue;
            send_some(c, stream);
            moved = 1;
            if (stream->sent == stream->size) {
                i--;
                grpc_send_trailers(c, stream);
            }
        }
    }
}

void h2_release(h2_connection *c) {
    while (c->n_streams) free_stream(c, c->streams[--c->n_streams]);
    free(c->streams);
    free(c->spare);
    free(c->in.start);
    free(c->out.start);
    free(c->block.start);
    free(c->head_block.start);
    if (c->head) h2_head_drop(c->head);
    if (c->table) hpack_release(c->table);
    free(c->table);
}
