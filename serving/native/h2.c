/* A connection's life: greeting, input cut into frames, draining, time. */
#include "h2.h"

#include <string.h>

#define PREFACE_SIZE (sizeof PREFACE - 1)
#define HEAD_SIZE 9
#define DRAIN_SECONDS 2 /* after which the peer is taken to know that the server is draining */

static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* What the server says first; the connection's window is out of the way, streams have theirs. */
void h2_begin(h2_connection *c) {
    const uint32_t settings[][2] = {{H2_CONCURRENT, H2_STREAMS}, {H2_HEADER_LIST, c->head_limit}};
    char *at = h2_put_frame(c, H2_SETTINGS, 0, 0, sizeof settings / sizeof *settings * 6);
    for (size_t i = 0; at && i < sizeof settings / sizeof *settings; i++, at += 6) {
        at[0] = 0;
        at[1] = (char)settings[i][0];
        h2_store((uint8_t *)at + 2, settings[i][1]);
    }
    h2_put_number(c, H2_WINDOW_UPDATE, 0, H2_LARGEST - H2_WINDOW);
    c->receive_window = H2_LARGEST;
    c->send_window = c->peer_window = H2_WINDOW;
    c->control = H2_CONTROL;
    c->resets = H2_RESETS;
}

/* Announce the end: streams that are on their way are still taken, until the peer has answered a PING. */
void h2_drain(h2_connection *c) {
    if (c->draining || c->over) return;
    c->draining = 1;
    c->drain_since = c->clock;
    h2_put_goaway(c, H2_LARGEST, H2_NO_ERROR);
    char *at = h2_put_frame(c, H2_PING, 0, 0, 8);
    if (at) memcpy(at, H2_DRAINED, 8);
}

/* No new streams from here on; what is open is finished. */
void h2_stop_taking(h2_connection *c) {
    h2_put_goaway(c, c->last_stream, H2_NO_ERROR);
    c->draining = 2;
    for (uint32_t i = c->n_streams; i-- > 0;) {
        if (c->streams[i]->finished) h2_reset(c, c->streams[i], H2_NO_ERROR);
    }
    if (c->n_streams == 0) c->over = 1;
}

/* The peer will send nothing more: calls that are complete are still answered. */
void h2_finish(h2_connection *c) {
    c->draining = 2;
    for (uint32_t i = c->n_streams; i-- > 0;) {
        if (!c->streams[i]->ended) h2_close(c, c->streams[i], 0);
    }
    if (c->n_streams == 0) c->over = 1;
}

/* The part of the preface that has come; 0 when it is something else. */
static int read_preface(h2_connection *c, const uint8_t **data, size_t *size) {
    size_t n = PREFACE_SIZE - c->preface < *size ? PREFACE_SIZE - c->preface : *size;
    if (memcmp(&PREFACE[c->preface], *data, n) != 0) return 0;
    c->preface += n;
    *data += n;
    *size -= n;
    return 1;
}

static h2_frame read_head(const uint8_t *at) {
    uint32_t size = h2_number(at) >> 8;
    return (h2_frame){at[3], at[4], h2_number(at + 5) & H2_LARGEST, size, at + HEAD_SIZE};
}

/* Keep the start of a frame until the rest of it comes; the number of bytes taken. */
static size_t keep(h2_connection *c, const uint8_t *data, size_t size) {
    size_t wanted = HEAD_SIZE;
    if (c->in.used >= HEAD_SIZE) wanted += read_head((const uint8_t *)c->in.start).size;
    if (size > wanted - c->in.used) size = wanted - c->in.used;
    char *at = h2_grow(c, &c->in, size);
    if (at) memcpy(at, data, size);
    return size;
}

/* Take a frame that came in parts, when it is complete. */
static void take_kept(h2_connection *c) {
    if (c->over || c->in.used < HEAD_SIZE) return;
    h2_frame f = read_head((const uint8_t *)c->in.start);
    if (f.size > H2_FRAME) {
        h2_fail(c, H2_FRAME_SIZE_ERROR);
    } else if (c->in.used == HEAD_SIZE + f.size) {
        h2_take(c, &f);
        c->in.used = 0;
    }
}

void h2_receive(h2_connection *c, const uint8_t *data, size_t size) {
    c->seen = c->clock;
    if (c->preface < PREFACE_SIZE && !c->over && !read_preface(c, &data, &size)) h2_fail(c, H2_PROTOCOL_ERROR);
    while (size && !c->over) {
        h2_frame f = {0};
        if (!c->in.used && size >= HEAD_SIZE) {
            f = read_head(data);
            if (f.size > H2_FRAME) {
                h2_fail(c, H2_FRAME_SIZE_ERROR);
                return;
            }
        }
        if (f.payload && size >= HEAD_SIZE + f.size) {
            h2_take(c, &f);
            data += HEAD_SIZE + f.size;
            size -= HEAD_SIZE + f.size;
            continue;
        }
        size_t taken = keep(c, data, size);
        data += taken;
        size -= taken;
        take_kept(c);
    }
}

static int refill(int budget, int more, int most) {
    return budget + more < most ? budget + more : budget < most ? most : budget;
}

/* Whether something has begun and did not come to its end for too long. */
static int is_stuck(h2_connection *c) {
    int unfinished = c->preface < PREFACE_SIZE || !c->settled || c->in.used || c->block_stream;
    if (!unfinished || c->frames != c->frames_before) c->unfinished_since = c->clock;
    c->frames_before = c->frames;
    return c->clock - c->unfinished_since > c->request_timeout;
}

static void check_streams(h2_connection *c) {
    static const char late[] = "the request did not arrive in time";
    for (uint32_t i = c->n_streams; i-- > 0 && !c->over;) {
        h2_stream *stream = c->streams[i];
        long long passed = c->clock - stream->since;
        double timeout = stream->head->timeout;
        if (stream->pending || stream->finished) {
            if (passed > c->request_timeout) h2_reset(c, stream, stream->pending ? H2_CANCEL : H2_NO_ERROR);
        } else if (!stream->given && (passed > c->request_timeout || (timeout >= 0.0 && (double)passed > timeout + 1.0))) {
            grpc_refuse(c, stream, GRPC_DEADLINE_EXCEEDED, late, sizeof late - 1);
        }
    }
}

/* To be called once a second, with `clock` moved on. */
void h2_tick(h2_connection *c) {
    c->control = refill(c->control, H2_CONTROL_REFILL, H2_CONTROL);
    c->resets = refill(c->resets, H2_RESETS_REFILL, H2_RESETS);
    if (c->over) return;
    if (is_stuck(c)) h2_fail(c, c->settled ? H2_ENHANCE_YOUR_CALM : H2_SETTINGS_TIMEOUT);
    check_streams(c);
    if (c->draining == 1 && c->clock - c->drain_since > DRAIN_SECONDS) h2_stop_taking(c);
    if (c->n_streams == 0 && c->clock - c->seen > c->idle_timeout) h2_drain(c);
}
