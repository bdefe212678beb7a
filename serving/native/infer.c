/* ModelInfer: what a Fast needs for it, and the answer's message, byte for byte as serving.calls writes it. */
#include "infer.h"

#include <stdlib.h>

enum { NAME = 1, DATATYPE, SHAPE, CONTENTS = 5 };       /* of InferOutputTensor */
enum { ID = 3, OUTPUT = 5, RAW = 6 };                   /* of ModelInferResponse */
enum { FP64_CONTENTS = 7, BYTES_CONTENTS = 8 };         /* of InferTensorContents */

static size_t labels_size(const fast_object *self, const fast_bytes *labels, uint32_t rows) {
    size_t size = 0;
    for (uint32_t i = 0; i < rows; i++) {
        size += labels[fast_likeliest(self->scores + (size_t)i * self->n_labels, self->n_labels)].size;
    }
    return size;
}

static char *put_labels(const fast_object *self, char *at, const fast_bytes *labels, uint32_t rows) {
    for (uint32_t i = 0; i < rows; i++) {
        const fast_bytes *label = &labels[fast_likeliest(self->scores + (size_t)i * self->n_labels, self->n_labels)];
        memcpy(at, label->start, label->size);
        at += label->size;
    }
    return at;
}

/* Whether an output is float64: the probabilities, and predictions of a regression. */
static int is_numbers(const fast_object *self, int output) { return output == INFER_PROBABILITIES || !self->n_labels; }

static size_t values_size(const fast_object *self, int output, int raw, uint32_t rows) {
    if (is_numbers(self, output)) return (size_t)rows * self->width * sizeof(double);
    return labels_size(self, raw ? self->infer->raw : self->infer->typed, rows);
}

static char *put_values(const fast_object *self, char *at, int output, int raw, uint32_t rows) {
    if (!is_numbers(self, output)) return put_labels(self, at, raw ? self->infer->raw : self->infer->typed, rows);
    size_t size = (size_t)rows * self->width * sizeof(double);
    memcpy(at, self->scores, size);
    return at + size;
}

/* An output tensor; in typed form with its values. */
static char *put_output(const fast_object *self, char *at, int output, int raw, uint32_t rows) {
    const struct infer_model *infer = self->infer;
    fast_bytes name = output == INFER_PREDICTION ? (fast_bytes){"prediction", 10} : (fast_bytes){"probabilities", 13};
    fast_bytes datatype = output == INFER_PREDICTION ? infer->datatype : (fast_bytes){"FP64", 4};
    size_t shape = proto_varint_size(rows) + (output == INFER_PROBABILITIES ? proto_varint_size(self->width) : 0);
    size_t size = 2 + name.size + 2 + datatype.size + 2 + shape, values = values_size(self, output, 0, rows);
    int field = is_numbers(self, output) ? FP64_CONTENTS : infer->field;
    int packed = field != BYTES_CONTENTS; /* texts bring a head each */
    size_t contents = values + (packed ? 1 + proto_varint_size(values) : 0);
    if (!raw) size += 1 + proto_varint_size(contents) + contents;
    at = proto_put_head(at, OUTPUT, size);
    at = proto_put_bytes(at, NAME, name.start, name.size);
    at = proto_put_bytes(at, DATATYPE, datatype.start, datatype.size);
    at = proto_put_varint(proto_put_head(at, SHAPE, shape), rows);
    if (output == INFER_PROBABILITIES) at = proto_put_varint(at, self->width);
    if (raw) return at;
    at = proto_put_head(at, CONTENTS, contents);
    if (packed) at = proto_put_head(at, field, values);
    return put_values(self, at, output, 0, rows);
}

static char *put_reply(const fast_object *self, const infer_request *request, uint32_t rows) {
    const struct infer_model *infer = self->infer;
    uint32_t n = request->n_outputs ? request->n_outputs : 1; /* none named: the prediction */
    int raw = request->n_raws > 0;
    char *at = infer->reply;
    memcpy(at, infer->head.start, infer->head.size);
    at += infer->head.size;
    if (proto_size(&request->id)) at = proto_put_bytes(at, ID, request->id.at, proto_size(&request->id));
    for (uint32_t i = 0; i < n; i++) at = put_output(self, at, request->outputs[i], raw, rows);
    for (uint32_t i = 0; raw && i < n; i++) {
        at = proto_put_head(at, RAW, values_size(self, request->outputs[i], 1, rows));
        at = put_values(self, at, request->outputs[i], 1, rows);
    }
    return at;
}

static size_t answer(fast_object *self, const char *message, size_t size, const char **reply) {
    infer_request request;
    double started = fast_now();
    if (!self->infer || self->busy || size > self->bytes_limit) return 0;
    uint32_t rows = infer_read(self, (proto_cursor){message, message + size}, &request);
    if (rows == 0 || (self->sample && ++self->ordinary % self->sample == 0) || fast_score(self, rows)) return 0;
    *reply = self->infer->reply;
    size_t written = (size_t)(put_reply(self, &request, rows) - self->infer->reply);
    self->infer->requests++;
    fast_count_rows(self, self->rows, self->scores, rows);
    fast_count_seconds(self, fast_now() - started);
    return written;
}

size_t infer_answer(fast_object *self, const char *message, size_t size, const char **reply) {
    size_t written = answer(self, message, size, reply);
    if (!written) PyErr_Clear(); /* a failing scorer: the generic path may do better, or says so */
    return written;
}

PyObject *infer_message(PyObject *object, PyObject *data) {
    Py_buffer buffer;
    const char *reply;
    if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)) return NULL;
    size_t written = infer_answer((fast_object *)object, buffer.buf, (size_t)buffer.len, &reply);
    PyBuffer_Release(&buffer);
    return written ? PyBytes_FromStringAndSize(reply, (Py_ssize_t)written) : Py_NewRef(Py_None);
}

/* The bytes of each label; points into the tuple. */
static int take_labels(struct infer_model *infer, PyObject *labels, uint32_t n, fast_bytes **out) {
    if (!PyTuple_Check(labels) || PyTuple_GET_SIZE(labels) != (Py_ssize_t)n) {
        PyErr_Format(PyExc_ValueError, "expected a tuple of %u labels", n);
        return -1;
    }
    *out = calloc(n + 1, sizeof **out);
    if (!*out) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < n; i++) {
        PyObject *label = PyTuple_GET_ITEM(labels, i);
        if (!PyBytes_Check(label)) {
            PyErr_Format(PyExc_TypeError, "expected bytes, got %.80s", Py_TYPE(label)->tp_name);
            return -1;
        }
        (*out)[i] = (fast_bytes){PyBytes_AS_STRING(label), (size_t)PyBytes_GET_SIZE(label)};
        if ((*out)[i].size > infer->longest) infer->longest = (*out)[i].size;
    }
    return 0;
}

static int make_room(const fast_object *self, struct infer_model *infer) {
    size_t numbers = (size_t)self->width * sizeof(double);
    size_t values = (infer->longest > numbers ? infer->longest : numbers) * self->rows_limit;
    infer->reply = malloc(infer->head.size + FAST_LONGEST_ID + INFER_OUTPUTS * (values + 256) + 64);
    infer->inputs = calloc(self->n_columns, sizeof *infer->inputs);
    infer->raws = calloc(self->n_columns, sizeof *infer->raws);
    if (infer->reply && infer->inputs && infer->raws) return 0;
    PyErr_NoMemory();
    return -1;
}

static int set_up(const fast_object *self, struct infer_model *infer, PyObject *args) {
    PyObject *raw, *typed;
    Py_ssize_t sizes[4];
    if (!PyArg_ParseTuple(args, "y#y#y#y#iOO:speak_grpc", &infer->name.start, &sizes[0], &infer->version.start, &sizes[1],
                          &infer->head.start, &sizes[2], &infer->datatype.start, &sizes[3], &infer->field, &raw, &typed)) {
        return -1;
    }
    infer->name.size = (size_t)sizes[0], infer->version.size = (size_t)sizes[1];
    infer->head.size = (size_t)sizes[2], infer->datatype.size = (size_t)sizes[3];
    infer->held = Py_NewRef(args);
    if (infer->datatype.size > 16) {
        PyErr_SetString(PyExc_ValueError, "expected a datatype of at most 16 characters");
        return -1;
    }
    if (take_labels(infer, raw, self->n_labels, &infer->raw)) return -1;
    if (take_labels(infer, typed, self->n_labels, &infer->typed)) return -1;
    return make_room(self, infer);
}

PyObject *infer_set_up(PyObject *object, PyObject *args) {
    fast_object *self = (fast_object *)object;
    struct infer_model *infer = self->infer ? NULL : calloc(1, sizeof *infer);
    if (!infer) return PyErr_Format(PyExc_ValueError, "no memory, or it speaks gRPC already");
    if (set_up(self, infer, args)) {
        infer_release(infer);
        return NULL;
    }
    self->infer = infer;
    Py_RETURN_NONE;
}

void infer_release(struct infer_model *infer) {
    if (!infer) return;
    Py_CLEAR(infer->held);
    free(infer->raw);
    free(infer->typed);
    free(infer->inputs);
    free(infer->raws);
    free(infer->reply);
    free(infer);
}
