/* A closed-loop client: each connection sends its next request when the answer to the last one is complete.
 *
 *   load http|grpc PORT CONNECTIONS WARM_SECONDS SECONDS FILE [ADDRESS]
 *
 * FILE is the request: for http its bytes; for grpc u32 size and HPACK header block, then the framed message. Prints one
 * JSON object: requests, failures, seconds, p50, p99 and largest latency in microseconds, and
 * the total of requests with those of the warm-up. Latencies are of the requests
 * sent (no correction for coordinated omission): at a fixed number of connections that is what a caller sees.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 20)
#define WINDOW_STEP (1 << 20) /* bytes of answers; the connection's window is 1 GiB */
enum { DATA = 0, HEADERS = 1, RST = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW = 8 };

typedef struct {
    int fd;
    double sent;
    size_t used;
    uint32_t stream, unacknowledged;
    int has_data;
    char *in;
} connection;

static int grpc, port;
static struct in_addr server;
static char *request;
static size_t request_size, headers_size;
static double *latencies;
static size_t n_latencies, room, failures, total;
static int counting;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void send_all(connection *c, const char *data, size_t size) {
    while (size) {
        ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) continue;
        if (n < 0) return; /* the closed connection is noticed when it is read */
        data += n;
        size -= (size_t)n;
    }
}

static char *put_frame(char *at, uint32_t size, int type, int flags, uint32_t stream) {
    unsigned char head[9] = {(unsigned char)(size >> 16), (unsigned char)(size >> 8), (unsigned char)size,
                             (unsigned char)type, (unsigned char)flags, (unsigned char)(stream >> 24),
                             (unsigned char)(stream >> 16), (unsigned char)(stream >> 8), (unsigned char)stream};
    memcpy(at, head, 9);
    return at + 9;
}

static void send_request(connection *c) {
    static char out[1 << 16];
    c->sent = now();
    if (!grpc) {
        send_all(c, request, request_size);
        return;
    }
    size_t message = request_size - headers_size;
    char *at = put_frame(out, (uint32_t)headers_size, HEADERS, 4, c->stream);
    memcpy(at, request, headers_size);
    at = put_frame(at + headers_size, (uint32_t)message, DATA, 1, c->stream);
    memcpy(at, request + headers_size, message);
    send_all(c, out, (size_t)(at - out) + message);
}

static void greet(connection *c) {
    char out[64] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", *at = out + 24;
    at = put_frame(at, 0, SETTINGS, 0, 0);
    at = put_frame(at, 4, WINDOW, 0, 0);
    memcpy(at, "\x3f\xff\x00\x00", 4);
    send_all(c, out, (size_t)(at + 4 - out));
    c->stream = 1;
}

static void open_connection(connection *c, int poll) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1;
    address.sin_addr = server;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event);
    c->used = 0;
    c->has_data = 0;
    c->unacknowledged = 0;
    if (grpc) greet(c);
    send_request(c);
}

static void finish(connection *c, int good) {
    total++;
    if (counting) {
        if (n_latencies == room) {
            room = room ? room * 2 : 1 << 16;
            latencies = realloc(latencies, room * sizeof *latencies);
            if (!latencies) die("realloc");
        }
        latencies[n_latencies++] = (now() - c->sent) * 1e6;
        failures += !good;
    }
    send_request(c);
}

/* How many bytes the answer at the start of the buffer takes; 0 while it is not complete. */
static size_t http_answer(const connection *c, int *good) {
    char *end = memmem(c->in, c->used, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - c->in) + 4, body = 0;
    for (char *line = c->in; line < end; line = memmem(line, (size_t)(end - line) + 2, "\r\n", 2) + 2) {
        if (strncasecmp(line, "content-length:", 15) == 0) body = strtoul(line + 15, NULL, 10);
    }
    *good = memcmp(c->in, "HTTP/1.1 200", 12) == 0 && body > 0;
    return head + body <= c->used ? head + body : 0;
}

static void http2_frame(connection *c, int type, int flags, uint32_t stream, const char *payload, size_t size) {
    char out[32], *at = out;
    if (type == SETTINGS && !(flags & 1)) at = put_frame(at, 0, SETTINGS, 1, 0);
    if (type == PING && !(flags & 1) && size == 8) {
        at = put_frame(at, 8, PING, 1, 0);
        memcpy(at, payload, 8);
        at += 8;
    }
    if (type == DATA) c->unacknowledged += (uint32_t)size;
    if (c->unacknowledged > WINDOW_STEP) { /* as clients do: now and then, not for every answer */
        at = put_frame(at, 4, WINDOW, 0, 0);
        uint32_t more = htonl(c->unacknowledged);
        memcpy(at, &more, 4);
        at += 4;
        c->unacknowledged = 0;
    }
    if (at > out) send_all(c, out, (size_t)(at - out));
    if (stream != c->stream) return;
    if (type == DATA && size > 5) c->has_data = 1;
    if (type == RST || ((type == HEADERS || type == DATA) && flags & 1)) {
        int good = c->has_data && type == HEADERS;
        c->stream += 2;
        c->has_data = 0;
        finish(c, good);
    }
}

static void take(connection *c, size_t size) {
    memmove(c->in, c->in + size, c->used - size);
    c->used -= size;
}

static void read_answers(connection *c) {
    while (!grpc) {
        int good;
        size_t size = http_answer(c, &good);
        if (!size) return;
        take(c, size);
        finish(c, good);
    }
    while (c->used >= 9) {
        unsigned char *head = (unsigned char *)c->in;
        size_t size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (c->used < 9 + size) return;
        uint32_t stream = ((uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8]) & 0x7fffffff;
        if (head[3] == GOAWAY) die("the server closed the HTTP/2 connection");
        http2_frame(c, head[3], head[4], stream, c->in + 9, size);
        take(c, 9 + size);
    }
}

static void receive(connection *c, int poll) {
    ssize_t n = recv(c->fd, c->in + c->used, BUFFER - c->used, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        close(c->fd);
        failures += counting;
        open_connection(c, poll);
        return;
    }
    c->used += (size_t)n;
    read_answers(c);
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    uint32_t size = 0;
    if (!file) die(path);
    if (grpc && fread(&size, 4, 1, file) != 1) die("header block");
    headers_size = size;
    request = malloc(1 << 16);
    request_size = fread(request, 1, (1 << 16) - 64, file);
    fclose(file);
}

static double drive(int poll, double seconds) {
    struct epoll_event events[64];
    double start = now(), end = start + seconds;
    while (now() < end) {
        int ready = epoll_wait(poll, events, 64, 50);
        for (int i = 0; i < ready; i++) receive(events[i].data.ptr, poll);
    }
    return now() - start;
}

int main(int argc, char **argv) {
    if ((argc != 7 && argc != 8) || inet_pton(AF_INET, argc == 8 ? argv[7] : "127.0.0.1", &server) != 1)
        return fprintf(stderr, "usage: load http|grpc PORT CONNECTIONS WARM_SECONDS SECONDS FILE [ADDRESS]\n"), 2;
    grpc = strcmp(argv[1], "grpc") == 0;
    port = atoi(argv[2]);
    int n = atoi(argv[3]), poll = epoll_create1(0);
    read_request(argv[6]);
    connection *connections = calloc((size_t)n, sizeof *connections);
    for (int i = 0; i < n; i++) {
        connections[i].in = malloc(BUFFER);
        open_connection(&connections[i], poll);
    }
    drive(poll, atof(argv[4]));
    counting = 1;
    double seconds = drive(poll, atof(argv[5]));
    qsort(latencies, n_latencies, sizeof *latencies, compare);
    double p50 = n_latencies ? latencies[n_latencies / 2] : 0, p99 = n_latencies ? latencies[n_latencies * 99 / 100] : 0;
    printf("{\"requests\": %zu, \"failures\": %zu, \"seconds\": %.6f, \"p50\": %.2f, \"p99\": %.2f, \"largest\": %.2f, \"total\": %zu}\n",
           n_latencies, failures, seconds, p50, p99, n_latencies ? latencies[n_latencies - 1] : 0.0, total);
    return 0;
}
