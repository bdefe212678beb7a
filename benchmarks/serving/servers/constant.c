/* Takes the place of fast_answer and infer_answer (linked with --wrap): the bytes of a file, whatever was asked. */
#include "infer.h"

#include <stdio.h>
#include <stdlib.h>

enum { V1, V2, GRPC, KINDS };

static char answers[KINDS][1 << 16];
static fast_bytes constants[KINDS];

static fast_bytes read_constant(const char *variable, char *room) {
    const char *path = getenv(variable);
    FILE *file = path ? fopen(path, "rb") : NULL;
    size_t size = file ? fread(room, 1, sizeof answers[0], file) : 0;
    if (file) fclose(file);
    return (fast_bytes){size ? room : NULL, size};
}

fast_bytes __wrap_fast_answer(fast_object *self, const char *data, size_t size);

fast_bytes __wrap_fast_answer(fast_object *self, const char *data, size_t size) {
    int v2 = size > 7 && data[7] == '2'; /* POST /v2... */
    (void)self;
    if (!constants[v2].start) constants[v2] = read_constant(v2 ? "ECHO_V2" : "ECHO_V1", answers[v2]);
    return constants[v2];
}

size_t __wrap_infer_answer(fast_object *self, const char *message, size_t size, const char **reply);

size_t __wrap_infer_answer(fast_object *self, const char *message, size_t size, const char **reply) {
    (void)self, (void)message, (void)size;
    if (!constants[GRPC].start) constants[GRPC] = read_constant("ECHO_GRPC", answers[GRPC]);
    *reply = constants[GRPC].start;
    return constants[GRPC].size;
}
