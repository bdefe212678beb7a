/* gRPC over HTTP/2: request messages put together, answers and statuses written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h2.h"

#define PREFIX 5           /* a flag and the message's length */
#define FIRST_ROOM 8192    /* bytes; a longer message's memory grows with what has come of it */
#define LONGEST_TEXT 2000  /* bytes of a status message; each may take three on the wire */
#define ANSWERED_EARNS 4   /* control frames that a peer may send more for each answered call */

static const char ANSWER[] = "\x88\x0f\x10\x10" "application/grpc"; /* :status 200, content-type by its static name */
static const char TRAILERS[] = "\x00\x0b" "grpc-status" "\x01" "0";
#define ANSWER_SIZE (sizeof ANSWER - 1)
#define TRAILERS_SIZE (sizeof TRAILERS - 1)

/* The answer is out. A peer that still sends may do so, within the window it has: some take being stopped for a failure. */
static void close_finished(h2_connection *c, h2_stream *stream) {
    if (stream->ended) h2_close(c, stream, 0);
    else if (c->draining == 2 || stream->receive_window <= 0) h2_reset(c, stream, H2_NO_ERROR);
}

/* Forget what has come of a message. */
void grpc_drop_message(h2_connection *c, h2_stream *stream) {
    if (c->account) c->account->held -= stream->room;
    free(stream->message);
    stream->message = NULL;
    stream->room = 0;
}

/* The last frame of an answer has been written. */
static void finish(h2_connection *c, h2_stream *stream) {
    if (c->control < H2_CONTROL) c->control += ANSWERED_EARNS;
    if (c->resets < H2_RESETS) c->resets++;
    stream->finished = 1;
    stream->waiting = 0;
    grpc_drop_message(c, stream);
    if (stream->granted) h2_return_grant(c, stream);
    close_finished(c, stream);
}

/* An answer that is not gRPC's: a bare status, for clients that speak something else. */
static void answer_plain(h2_connection *c, h2_stream *stream, const char *block, size_t size) {
    h2_put_headers(c, stream->id, H2_END_STREAM, block, size);
    finish(c, stream);
}

#define PLAIN(c, stream, block) answer_plain(c, stream, block, sizeof(block) - 1)

#define REFUSE(c, stream, status, text) grpc_refuse(c, stream, status, text, sizeof(text) - 1)

/* The head of a request has come, and is one of HTTP/2. */
void grpc_begin(h2_connection *c, h2_stream *stream) {
    const h2_head *head = stream->head;
    if (head->too_large) {
        char text[80];
        int size = snprintf(text, sizeof text, "the metadata is larger than %u bytes", head->limit);
        grpc_refuse(c, stream, GRPC_RESOURCE_EXHAUSTED, text, (size_t)size);
    } else if (!head->post) {
        PLAIN(c, stream, "\x08\x03" "405" "\x00\x05" "allow" "\x04" "POST");
    } else if (!head->grpc) {
        PLAIN(c, stream, "\x08\x03" "415");
    } else if (head->timeout < -1.0) {
        REFUSE(c, stream, GRPC_INVALID_ARGUMENT, "grpc-timeout: expected up to 8 digits and one of H, M, S, m, u, n");
    } else if (stream->ended) {
        grpc_end(c, stream);
    }
}

/* Read the flag and the length; 0 when the call was refused for them. */
static int check_prefix(h2_connection *c, h2_stream *stream, const unsigned char *prefix) {
    stream->length = h2_number(prefix + 1);
    if (prefix[0] > 1) {
        REFUSE(c, stream, GRPC_INVALID_ARGUMENT, "the message's first byte: expected 0, or 1 when it is compressed");
        return 0;
    }
    if (stream->length > c->message_limit) {
        char text[96];
        int size = snprintf(text, sizeof text, "the message is larger than %u bytes (it has %u)", c->message_limit,
                            stream->length);
        grpc_refuse(c, stream, GRPC_RESOURCE_EXHAUSTED, text, (size_t)size);
        return 0;
    }
    return 1;
}

/* Open the stream's window for the rest of a long message, as soon as there is room for all of it. */
void grpc_grant(h2_connection *c, h2_stream *stream) {
    uint32_t rest = stream->length - stream->n_message;
    stream->waiting = 0;
    if (stream->n_prefix < PREFIX || (int64_t)rest <= stream->receive_window) return;
    uint32_t more = rest - (uint32_t)stream->receive_window;
    stream->waiting = c->granted && c->granted + more > c->message_limit;
    if (stream->waiting) return;
    c->granted += more;
    stream->granted += more;
    stream->receive_window += (int32_t)more;
    h2_put_number(c, H2_WINDOW_UPDATE, stream->id, more);
}

static int append(h2_connection *c, h2_stream *stream, const char *data, size_t size) {
    if (stream->room - stream->n_message < size) {
        size_t room = stream->room ? stream->room * (size_t)2 : FIRST_ROOM;
        if (room < stream->n_message + size) room = stream->n_message + size;
        if (room > stream->length) room = stream->length;
        hr_account *account = c->account;
        if (account && account->held + (long long)(room - stream->room) > account->limit) {
            account->refused++;
            REFUSE(c, stream, GRPC_RESOURCE_EXHAUSTED, "the server holds as many bytes of requests as it may; try again");
            return 0;
        }
        char *message = realloc(stream->message, room);
        if (!message) {
            c->broken = c->over = 1;
            return 0;
        }
        if (account) account->held += (long long)(room - stream->room);
        stream->message = message;
        stream->room = (uint32_t)room;
    }
    if (size) memcpy(stream->message + stream->n_message, data, size);
    stream->n_message += (uint32_t)size;
    return 1;
}

/* A part of the body. */
void grpc_data(h2_connection *c, h2_stream *stream, const char *data, size_t size) {
    const unsigned char *bytes = (const unsigned char *)data;
    if (stream->finished) {
        close_finished(c, stream);
        return;
    }
    if (stream->n_prefix == 0 && stream->ended && size >= PREFIX && h2_number(bytes + 1) == size - PREFIX) {
        if (check_prefix(c, stream, bytes)) c->host->call(c, stream, data + PREFIX, size - PREFIX, bytes[0]);
        return;
    }
    if (stream->n_prefix < PREFIX) {
        while (size && stream->n_prefix < PREFIX) {
            stream->prefix[stream->n_prefix++] = (unsigned char)*data++;
            size--;
        }
        if (stream->n_prefix == PREFIX && !check_prefix(c, stream, stream->prefix)) return;
    }
    if (size > stream->length - stream->n_message) {
        REFUSE(c, stream, GRPC_INVALID_ARGUMENT, "the call carries more than one message");
        return;
    }
    if (!append(c, stream, data, size)) return;
    if (stream->ended) grpc_end(c, stream);
    else grpc_grant(c, stream);
}

/* The peer has sent everything. */
void grpc_end(h2_connection *c, h2_stream *stream) {
    if (stream->finished) {
        close_finished(c, stream);
        return;
    }
    if (stream->n_prefix < PREFIX || stream->n_message < stream->length) {
        REFUSE(c, stream, GRPC_INVALID_ARGUMENT, "the call carries no complete message");
        return;
    }
    char *message = stream->message;
    hr_account *account = c->account;
    uint32_t room = stream->room;
    stream->message = NULL;
    stream->room = 0;
    c->host->call(c, stream, message ? message : "", stream->length, stream->prefix[0]);
    free(message);
    if (account) account->held -= room;
}

static void put_prefix(char *at, size_t size) {
    at[0] = 0;
    h2_store((uint8_t *)at + 1, (uint32_t)size);
}

void grpc_send_trailers(h2_connection *c, h2_stream *stream) {
    free(stream->pending);
    stream->pending = NULL;
    h2_put_headers(c, stream->id, H2_END_STREAM, TRAILERS, TRAILERS_SIZE);
    finish(c, stream);
}

/* Answer with a message: at once where the windows allow it, else bit by bit. */
void grpc_answer(h2_connection *c, h2_stream *stream, const char *body, size_t size) {
    int64_t whole = (int64_t)size + PREFIX;
    stream->answered = 1;
    stream->given = 0;
    h2_put_headers(c, stream->id, 0, ANSWER, ANSWER_SIZE);
    if (whole <= H2_FRAME && whole <= stream->send_window && whole <= c->send_window && !c->paused) {
        char *at = h2_put_frame(c, H2_DATA, 0, stream->id, (uint32_t)whole);
        if (!at) return;
        put_prefix(at, size);
        memcpy(at + PREFIX, body, size);
        c->send_window -= whole;
        grpc_send_trailers(c, stream);
        return;
    }
    stream->pending = malloc((size_t)whole);
    if (!stream->pending) {
        c->broken = c->over = 1;
        return;
    }
    put_prefix(stream->pending, size);
    memcpy(stream->pending + PREFIX, body, size);
    stream->size = (size_t)whole;
    stream->sent = 0;
    stream->since = c->clock;
    h2_pump(c);
}

/* Text as a header value may carry it: all but printable ASCII, and the percent sign, as %XX. */
static size_t encode_percent(char *out, const char *text, size_t size) {
    static const char digits[] = "0123456789ABCDEF";
    char *at = out;
    if (size > LONGEST_TEXT) {
        size = LONGEST_TEXT;
        while (size && ((unsigned char)text[size] & 0xc0) == 0x80) size--; /* not in the middle of a character */
    }
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= 0x20 && byte <= 0x7e && byte != '%' && !(byte == ' ' && (i == 0 || i + 1 == size))) {
            *at++ = (char)byte;
            continue;
        }
        *at++ = '%';
        *at++ = digits[byte >> 4];
        *at++ = digits[byte & 15];
    }
    return (size_t)(at - out);
}

/* Answer with a status other than OK: trailers only. */
void grpc_refuse(h2_connection *c, h2_stream *stream, int status, const char *text, size_t size) {
    char block[LONGEST_TEXT * 3 + 160], message[LONGEST_TEXT * 3], digits[12], *at = block;
    int n = snprintf(digits, sizeof digits, "%d", status);
    stream->answered = 1;
    stream->given = 0;
    memcpy(at, ANSWER, ANSWER_SIZE);
    at = hpack_put(at + ANSWER_SIZE, "grpc-status", digits, (size_t)n);
    at = hpack_put(at, "grpc-message", message, encode_percent(message, text, size));
    if (status == GRPC_UNIMPLEMENTED) at = hpack_put(at, "grpc-accept-encoding", "identity,deflate,gzip", 21);
    h2_put_headers(c, stream->id, H2_END_STREAM, block, (size_t)(at - block));
    finish(c, stream);
}
