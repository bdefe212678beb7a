/* The server's side of HTTP/2 (RFC 9113) and gRPC over it, as a machine: bytes in, calls out; answers in, bytes out.
 *
 * Independent of Python, of sockets and of time: the host feeds h2_receive, sends what lies in `out`, and calls h2_tick
 * once a second. Nothing that arrives is trusted. Memory per connection is bounded: a stream may send one window before
 * its message's length is known, and longer messages are only let in while all of them fit into `message_limit`.
 *
 *   h2.c           a connection's life, its input cut into frames
 *   h2_frames.c    what each frame does
 *   h2_head.c      request heads
 *   h2_streams.c   streams, windows, frames out
 *   grpc.c         messages, answers, statuses
 *   hpack.c        header compression
 */
#ifndef HEADRACE_H2_H
#define HEADRACE_H2_H

#include "account.h"
#include "hpack.h"

#define H2_FRAME 16384      /* the largest frame either way: the protocol's default */
#define H2_WINDOW 65535     /* of a new stream: the protocol's default */
#define H2_LARGEST 0x7fffffff
#define H2_STREAMS 256      /* open at once */
#define H2_REMEMBERED 128   /* closed streams that late frames may still come for */
#define H2_DRAINED "drained?" /* in the PING that tells when the peer knows that the server is draining */
#define H2_CONTROL 2000     /* frames that bring nothing forward: so many at once, and refilled per second */
#define H2_CONTROL_REFILL 200
#define H2_RESETS 1000      /* calls given up: likewise */
#define H2_RESETS_REFILL 100

enum {
    H2_NO_ERROR, H2_PROTOCOL_ERROR, H2_INTERNAL_ERROR, H2_FLOW_CONTROL_ERROR, H2_SETTINGS_TIMEOUT, H2_STREAM_CLOSED,
    H2_FRAME_SIZE_ERROR, H2_REFUSED_STREAM, H2_CANCEL, H2_COMPRESSION_ERROR, H2_CONNECT_ERROR, H2_ENHANCE_YOUR_CALM,
};
enum { H2_DATA, H2_HEADERS, H2_PRIORITY, H2_RST_STREAM, H2_SETTINGS, H2_PUSH_PROMISE, H2_PING, H2_GOAWAY, H2_WINDOW_UPDATE,
       H2_CONTINUATION };
enum { H2_END_STREAM = 1, H2_ACK = 1, H2_END_HEADERS = 4, H2_PADDED = 8, H2_PRIORITIZED = 32 };
enum { GRPC_OK = 0, GRPC_INVALID_ARGUMENT = 3, GRPC_DEADLINE_EXCEEDED = 4, GRPC_RESOURCE_EXHAUSTED = 8, GRPC_UNIMPLEMENTED = 12 };

enum { H2_TABLE_SIZE = 1, H2_ENABLE_PUSH, H2_CONCURRENT, H2_INITIAL_WINDOW, H2_MAX_FRAME_SIZE, H2_HEADER_LIST };

typedef struct {
    int type, flags;
    uint32_t stream, size;
    const uint8_t *payload;
} h2_frame;

/* The head of a request; shared by all requests of a connection that have the same one. */
typedef struct {
    uint32_t refs;
    uint32_t limit, size;   /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
    unsigned seen;          /* which fields have come */
    char malformed, too_large, out_of_memory;
    char post, grpc;        /* its method, and whether the content-type is gRPC's */
    char infer;             /* the path is ModelInfer's */
    int64_t content_length; /* -1: not given */
    double timeout;         /* seconds of grpc-timeout; -1: not given */
    char *text;             /* of each field: u32 size of the name, u32 of the value, name, value */
    size_t used, room;
} h2_head;

typedef struct {
    uint32_t id;
    int32_t send_window, receive_window;
    h2_head *head;
    char ended;     /* the peer has sent everything */
    char given;     /* the host was called and will answer */
    char answered;  /* the answer has begun */
    char finished;  /* it is out, and the peer has not ended its side */
    char waiting;   /* for a larger window, until other messages are done */
    uint64_t received;
    uint32_t granted; /* of the connection's room for long messages */
    unsigned char prefix[5];
    uint32_t n_prefix, n_message, length, room;
    char *message;
    char *pending; /* of the answer: what the windows did not take yet */
    size_t sent, size;
    long long since; /* the clock when it began, or last made progress in sending */
} h2_stream;

typedef struct h2_connection h2_connection;

typedef struct {
    /* A complete message. Either answers at once or sets `given` and answers later. */
    void (*call)(h2_connection *connection, h2_stream *stream, const char *message, size_t size, int compressed);
    /* A call that was given is not wanted any more; the stream is about to vanish. */
    void (*cancel)(h2_connection *connection, h2_stream *stream);
} h2_host;

typedef struct {
    char *start;
    size_t used, room;
} h2_buffer;

struct h2_connection {
    const h2_host *host;
    hr_account *account; /* of all connections, or NULL */
    uint32_t message_limit, head_limit;
    long long request_timeout, idle_timeout;
    long long clock, seen, unfinished_since, drain_since;
    char greeted, settled; /* the preface, and the first SETTINGS, have come */
    char paused;           /* the host has enough to send */
    char over;             /* nothing more is read; the host closes when all is sent */
    char broken;           /* no memory: the host closes at once */
    char shrink;           /* the next header block has to say that our encoder has no table */
    char draining;         /* 1: announced, 2: no new streams */
    size_t preface;
    uint64_t frames, frames_before;
    h2_buffer in, out, block;
    uint32_t block_stream; /* whose header block goes on in CONTINUATION frames; 0: none */
    int block_flags;
    hpack_table *table;
    h2_head *head; /* the last one, the block it came in, and the table's state then */
    h2_buffer head_block;
    uint32_t head_changes;
    h2_stream **streams, *spare;
    uint32_t n_streams, room, last_stream;
    uint32_t closed[H2_REMEMBERED], n_closed; /* ids, shifted left; the lowest bit: reset by us */
    int64_t send_window, receive_window;
    int32_t peer_window; /* of new streams */
    uint64_t granted;
    int control, resets;
};

/* h2.c: what the host calls */
void h2_begin(h2_connection *c);
void h2_receive(h2_connection *c, const uint8_t *data, size_t size);
void h2_finish(h2_connection *c);
void h2_drain(h2_connection *c);
void h2_stop_taking(h2_connection *c);
void h2_tick(h2_connection *c);

/* h2_frames.c */
void h2_take(h2_connection *c, const h2_frame *frame);

/* h2_head.c */
h2_head *h2_head_new(uint32_t limit);
void h2_head_take(void *head, const hpack_field *field);
void h2_head_end(h2_head *head, int trailing);
void h2_head_drop(h2_head *head);

/* h2_streams.c */
h2_stream *h2_find(const h2_connection *c, uint32_t id);
h2_stream *h2_open(h2_connection *c, uint32_t id, h2_head *head);
void h2_close(h2_connection *c, h2_stream *stream, int reset);
void h2_return_grant(h2_connection *c, h2_stream *stream);
void h2_reset(h2_connection *c, h2_stream *stream, int code);
void h2_fail(h2_connection *c, int code);
void h2_spend(h2_connection *c, int *budget);
char *h2_grow(h2_connection *c, h2_buffer *buffer, size_t more);
char *h2_put_frame(h2_connection *c, int type, int flags, uint32_t stream, uint32_t size);
void h2_put_number(h2_connection *c, int type, uint32_t stream, uint32_t number);
void h2_put_goaway(h2_connection *c, uint32_t last, int code);
void h2_put_headers(h2_connection *c, uint32_t stream, int flags, const char *block, size_t size);
void h2_pump(h2_connection *c);
void h2_release(h2_connection *c);

/* grpc.c */
void grpc_begin(h2_connection *c, h2_stream *stream);
void grpc_drop_message(h2_connection *c, h2_stream *stream);
void grpc_data(h2_connection *c, h2_stream *stream, const char *data, size_t size);
void grpc_end(h2_connection *c, h2_stream *stream);
void grpc_answer(h2_connection *c, h2_stream *stream, const char *body, size_t size);
void grpc_refuse(h2_connection *c, h2_stream *stream, int status, const char *text, size_t size);
void grpc_grant(h2_connection *c, h2_stream *stream);
void grpc_send_trailers(h2_connection *c, h2_stream *stream);

static inline uint32_t h2_number(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void h2_store(uint8_t *at, uint32_t number) {
    at[0] = (uint8_t)(number >> 24);
    at[1] = (uint8_t)(number >> 16);
    at[2] = (uint8_t)(number >> 8);
    at[3] = (uint8_t)number;
}

#endif
