/* Fast: one complete, ordinary request in, the bytes of its answer out. What is ordinary is said in __init__.py. */
#include "fast.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "infer.h"

static const char VERSION[] = " HTTP/1.1\r\n";

double fast_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Past the request line when it is this path's; NULL otherwise. */
static const char *match_path(const char *at, const char *end, fast_bytes path) {
    size_t size = path.size + sizeof VERSION - 1;
    if ((size_t)(end - at) < size || memcmp(at, path.start, path.size) != 0) return NULL;
    return memcmp(at + path.size, VERSION, sizeof VERSION - 1) == 0 ? at + size : NULL;
}

/* Past the request line; *v2 tells the protocol. */
static const char *match_request_line(const fast_object *self, const char *at, const char *end, int *v2) {
    const char *rest = match_path(at, end, self->v1_path);
    *v2 = !rest;
    for (uint32_t i = 0; !rest && i < self->n_v2_paths; i++) rest = match_path(at, end, self->v2_paths[i]);
    return rest;
}

static char *put(char *at, const char *text, size_t size) {
    memcpy(at, text, size);
    return at + size;
}

#define PUT(at, text) put(at, text, sizeof(text) - 1)

static char *put_count(char *at, size_t number) {
    char digits[24], *first = digits + sizeof digits;
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    return put(at, first, (size_t)(digits + sizeof digits - first));
}

/* A float as Python and orjson both write it; NULL in the ranges where they choose different exponents. */
static char *put_number(char *at, double value) {
    double size = fabs(value);
    if (!(size < 1e16) || (size < 1e-4 && size != 0.0)) return NULL;
    char *text = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!text) {
        PyErr_Clear();
        return NULL;
    }
    at = put(at, text, strlen(text));
    PyMem_Free(text);
    return at;
}

static char *put_predictions(const fast_object *self, char *at, uint32_t rows) {
    for (uint32_t i = 0; at && i < rows; i++) {
        if (i) *at++ = ',';
        if (self->n_labels) {
            const fast_bytes *label = &self->labels[fast_likeliest(self->scores + (size_t)i * self->n_labels, self->n_labels)];
            at = put(at, label->start, label->size);
        } else {
            at = put_number(at, self->scores[i]);
        }
    }
    return at;
}

static char *put_v1(const fast_object *self, char *at, uint32_t rows) {
    at = put_predictions(self, PUT(at, "{\"predictions\":["), rows);
    return at ? PUT(at, "]}") : NULL;
}

static char *put_v2(const fast_object *self, char *at, uint32_t rows, json_text id) {
    at = put(at, self->v2_head.start, self->v2_head.size);
    if (id.start) {
        at = PUT(at, ",\"id\":\"");
        at = put(at, id.start, id.size);
        *at++ = '"';
    }
    at = put_count(PUT(at, ",\"outputs\":[{\"name\":\"prediction\",\"shape\":["), rows);
    at = put_predictions(self, put(at, self->v2_tail.start, self->v2_tail.size), rows);
    return at ? PUT(at, "]}]}") : NULL;
}

/* The answer: the head is put right before the body, which is already there. */
static fast_bytes put_head(fast_object *self, const http_request *request, const char *last) {
    char length[24];
    size_t digits = (size_t)(put_count(length, (size_t)(last - self->body)) - length);
    size_t id = request->request_id ? sizeof "x-request-id: \r\n" - 1 + request->request_id_size : 0;
    char *first = self->body - (self->head.size + HTTP_DATE_SIZE + id + sizeof "content-length: \r\n\r\n" - 1 + digits);
    char *at = put(first, self->head.start, self->head.size);
    at = put(at, http_date_line(&self->date), HTTP_DATE_SIZE);
    if (id) {
        at = put(PUT(at, "x-request-id: "), request->request_id, request->request_id_size);
        at = PUT(at, "\r\n");
    }
    at = put(PUT(at, "content-length: "), length, digits);
    PUT(at, "\r\n\r\n");
    return (fast_bytes){first, (size_t)(last - first)};
}

static int all_finite(const double *numbers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(numbers[i])) return 0;
    }
    return 1;
}

/* The scores of self->rows by a Python function; what it raises is left to the generic path to meet again. */
static int call_scorer(fast_object *self, uint32_t rows) {
    Py_buffer out;
    size_t size = (size_t)rows * self->width * sizeof(double);
    self->busy = 1;
    PyObject *scores = PyObject_CallFunction(self->scorer, "y#I", (const char *)self->rows,
                                             (Py_ssize_t)(rows * (size_t)self->n_columns * sizeof(double)), rows);
    self->busy = 0;
    if (!scores) return -1;
    int failed = PyObject_GetBuffer(scores, &out, PyBUF_SIMPLE);
    if (!failed) {
        failed = (size_t)out.len == size ? 0 : -1;
        if (!failed) memcpy(self->scores, out.buf, size);
        PyBuffer_Release(&out);
    }
    Py_DECREF(scores);
    return failed;
}

int fast_score(fast_object *self, uint32_t rows) {
    if (self->table) hr_score(&self->table->table, self->rows, rows, self->scores, self->table->scratch);
    else if (call_scorer(self, rows)) return -1;
    return all_finite(self->scores, (size_t)rows * self->width) ? 0 : -1;
}

static const fast_bytes NOTHING = {NULL, 0};

static fast_bytes answer(fast_object *self, const char *data, size_t size) {
    http_request request;
    json_text id = {NULL, 0, 0};
    int v2;
    double started = fast_now();
    const char *end = data + size, *headers = match_request_line(self, data, end, &v2);
    if (self->busy || !headers || !http_read_headers(headers, end, &self->head_memory, &request)) return NOTHING;
    json_cursor in = {request.body, end};
    uint32_t rows = v2 ? fast_read_v2(self, &in, &id) : fast_read_v1(self, &in);
    if (rows == 0 || (self->sample && ++self->ordinary % self->sample == 0)) return NOTHING;
    if (fast_score(self, rows)) return NOTHING;
    char *last = v2 ? put_v2(self, self->body, rows, id) : put_v1(self, self->body, rows);
    if (!last) return NOTHING;
    *(v2 ? &self->v2_requests : &self->v1_requests) += 1;
    fast_count_rows(self, self->rows, self->scores, rows);
    fast_count_seconds(self, fast_now() - started);
    return put_head(self, &request, last);
}

fast_bytes fast_answer(fast_object *self, const char *data, size_t size) {
    fast_bytes bytes = size <= self->bytes_limit ? answer(self, data, size) : NOTHING;
    if (!bytes.start) PyErr_Clear(); /* a failing scorer, no memory: the generic path may do better, or says so */
    return bytes;
}

static PyObject *fast_handle(PyObject *object, PyObject *data) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)) return NULL;
    fast_bytes bytes = fast_answer((fast_object *)object, buffer.buf, (size_t)buffer.len);
    PyBuffer_Release(&buffer);
    return bytes.start ? PyBytes_FromStringAndSize(bytes.start, (Py_ssize_t)bytes.size) : Py_NewRef(Py_None);
}

static PyObject *fast_observe(PyObject *object, PyObject *args) {
    fast_object *self = (fast_object *)object;
    Py_buffer features, outputs;
    Py_ssize_t rows;
    if (!PyArg_ParseTuple(args, "y*y*n:observe", &features, &outputs, &rows)) return NULL;
    Py_ssize_t row = (Py_ssize_t)(self->n_columns * sizeof(double));
    Py_ssize_t width = (Py_ssize_t)(self->width * sizeof(double));
    int fits = rows >= 0 && rows <= features.len / row && rows * row == features.len && rows <= outputs.len / width &&
               rows * width == outputs.len && (uintptr_t)features.buf % 8 == 0 && (uintptr_t)outputs.buf % 8 == 0;
    if (fits) fast_count_rows(self, features.buf, outputs.buf, (size_t)rows);
    PyBuffer_Release(&features);
    PyBuffer_Release(&outputs);
    if (fits) Py_RETURN_NONE;
    PyErr_SetString(PyExc_ValueError, "expected aligned float64 features [rows, columns] and outputs [rows, width]");
    return NULL;
}

static PyObject *fast_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    fast_object *self = (fast_object *)type->tp_alloc(type, 0);
    if (self && fast_set_up(self, args, named)) Py_CLEAR(self);
    return (PyObject *)self;
}

static void fast_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    fast_release((fast_object *)object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef fast_methods[] = {
    {"handle", fast_handle, METH_O, "handle(data) -> bytes | None: the answer to one ordinary request."},
    {"observe", fast_observe, METH_VARARGS, "observe(features, outputs, rows): count rows that another path scored."},
    {"infer", infer_message, METH_O, "infer(message) -> bytes | None: the answer to one ordinary ModelInferRequest."},
    {"speak_grpc", infer_set_up, METH_VARARGS, "speak_grpc(...): answer ModelInfer too; see serving.native.fast."},
    {"counters", fast_counters, METH_NOARGS, "counters() -> dict: everything counted so far."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot fast_slots[] = {
    {Py_tp_doc, "The hot path of one model; made by serving.native.fast."},
    {Py_tp_new, fast_new},
    {Py_tp_dealloc, fast_dealloc},
    {Py_tp_methods, fast_methods},
    {0, NULL},
};

PyType_Spec hr_fast_spec = {"serving.native._native.Fast", sizeof(fast_object), 0, Py_TPFLAGS_DEFAULT, fast_slots};
