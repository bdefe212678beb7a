/* What an event loop calls when bytes of a gRPC connection arrive: ordinary ModelInfer calls are answered here, all others
 * in Python. HTTP/2 is in h2.h; this file gives it a transport and a way to Python.
 *
 * The subclass has called(stream, path, metadata, message, compressed, timeout, sampled), cancelled(stream) and
 * ending(): the connection is to be closed when what was written is out.
 */
#include "infer.h"
#include "outlet.h"

#include <structmember.h>

#include "h2.h"

#define KEPT_ROOM 65536 /* bytes of output memory that a connection keeps */
#define INTERNAL 13

typedef struct {
    PyObject_HEAD
    h2_connection h2;
    PyObject *gate;
    hr_outlet outlet;
    char told; /* that the connection is ending */
} rpc_object;

static PyObject *called_name, *cancelled_name, *ending_name;

static rpc_object *owner(h2_connection *c) { return (rpc_object *)((char *)c - offsetof(rpc_object, h2)); }

/* The fields of a head but its pseudo-headers, and the path; NULL with an exception. */
static PyObject *make_metadata(const h2_head *head, PyObject **path) {
    PyObject *metadata = PyDict_New();
    *path = NULL;
    for (size_t at = 0; metadata && at < head->used;) {
        uint32_t sizes[2];
        memcpy(sizes, head->text + at, sizeof sizes);
        const char *name = head->text + at + sizeof sizes;
        at += sizeof sizes + sizes[0] + sizes[1];
        int is_path = sizes[0] == 5 && memcmp(name, ":path", 5) == 0;
        if (name[0] == ':' && !is_path) continue;
        PyObject *value = PyBytes_FromStringAndSize(name + sizes[0], sizes[1]);
        if (is_path) {
            *path = value;
        } else {
            PyObject *key = value ? PyBytes_FromStringAndSize(name, sizes[0]) : NULL;
            if (!key || PyDict_SetItem(metadata, key, value)) Py_CLEAR(metadata);
            Py_XDECREF(key);
            Py_XDECREF(value);
        }
    }
    if (metadata && *path) return metadata;
    Py_XDECREF(metadata);
    Py_CLEAR(*path);
    return NULL;
}

static int call_python(rpc_object *self, const h2_stream *stream, const char *message, size_t size, int compressed, int sampled) {
    PyObject *path, *metadata = make_metadata(stream->head, &path);
    PyObject *number = PyLong_FromUnsignedLong(stream->id);
    PyObject *bytes = PyBytes_FromStringAndSize(message, (Py_ssize_t)size), *timeout = PyFloat_FromDouble(stream->head->timeout);
    PyObject *done = NULL;
    if (metadata && number && bytes && timeout) {
        done = PyObject_CallMethodObjArgs((PyObject *)self, called_name, number, path, metadata, bytes,
                                          compressed ? Py_True : Py_False, timeout, sampled ? Py_True : Py_False, NULL);
    }
    Py_XDECREF(metadata);
    Py_XDECREF(path);
    Py_XDECREF(number);
    Py_XDECREF(bytes);
    Py_XDECREF(timeout);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static void on_call(h2_connection *c, h2_stream *stream, const char *message, size_t size, int compressed) {
    static const char failed[] = "the server failed; its log says more";
    rpc_object *self = owner(c);
    uint32_t id = stream->id;
    int sampled = hr_gate_due(self->gate);
    fast_object *fast = hr_gate_fast(self->gate);
    if (fast && stream->head->infer && !compressed && !sampled) {
        const char *reply;
        Py_INCREF(fast); /* a scorer in Python may let a swap in */
        size_t written = infer_answer(fast, message, size, &reply);
        if (written) grpc_answer(c, stream, reply, written);
        Py_DECREF(fast);
        if (written) return;
    }
    stream->given = 1;
    if (call_python(self, stream, message, size, compressed, sampled) == 0) return;
    PyErr_WriteUnraisable((PyObject *)self);
    stream = h2_find(c, id);
    if (stream && stream->given) grpc_refuse(c, stream, INTERNAL, failed, sizeof failed - 1);
}

static void on_cancel(h2_connection *c, h2_stream *stream) {
    PyObject *number = PyLong_FromUnsignedLong(stream->id);
    PyObject *done = number ? PyObject_CallMethodOneArg((PyObject *)owner(c), cancelled_name, number) : NULL;
    if (!done) PyErr_WriteUnraisable((PyObject *)owner(c));
    Py_XDECREF(number);
    Py_XDECREF(done);
}

static const h2_host host = {on_call, on_cancel};

/* Send what is to go out: to the socket, and what it does not take to the transport. 0, or -1 with an exception. */
static int flush(rpc_object *self) {
    h2_buffer *out = &self->h2.out;
    if (!self->outlet.write) out->used = 0;
    if (out->used) {
        Py_ssize_t sent = hr_outlet_send(&self->outlet, out->start, out->used);
        if (sent < 0) return -1;
        size_t rest = out->used - (size_t)sent;
        out->used = 0; /* the transport may call back */
        PyObject *done = rest ? hr_outlet_queue(&self->outlet, out->start + sent, rest) : Py_NewRef(Py_None);
        if (!done) return -1;
        Py_DECREF(done);
        out->used = 0;
    }
    if (out->room > KEPT_ROOM) {
        free(out->start);
        *out = (h2_buffer){NULL, 0, 0};
    }
    return 0;
}

/* What every call ends with: output goes out, and Python hears once that the connection is ending. */
static PyObject *settle(rpc_object *self) {
    if (flush(self)) return NULL;
    if (self->h2.over && !self->told && self->outlet.write) {
        self->told = 1;
        return PyObject_CallMethodNoArgs((PyObject *)self, ending_name);
    }
    Py_RETURN_NONE;
}

/* Take the time; 0 with an exception when there is no gate to tell it: __init__ was not called. */
static int is_ready(rpc_object *self) {
    if (self->gate) self->h2.clock = hr_gate_clock(self->gate);
    else PyErr_SetString(PyExc_RuntimeError, "RpcWire.__init__ was not called");
    return self->gate != NULL;
}

static PyObject *rpc_data_received(PyObject *object, PyObject *data) {
    rpc_object *self = (rpc_object *)object;
    Py_buffer buffer;
    if (!is_ready(self) || PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)) return NULL;
    h2_receive(&self->h2, buffer.buf, (size_t)buffer.len);
    PyBuffer_Release(&buffer);
    return settle(self);
}

static PyObject *rpc_attach(PyObject *object, PyObject *args) {
    rpc_object *self = (rpc_object *)object;
    if (!is_ready(self) || hr_outlet_attach(&self->outlet, args)) return NULL;
    h2_begin(&self->h2);
    return settle(self);
}

static PyObject *rpc_detach(PyObject *object, PyObject *unused) {
    rpc_object *self = (rpc_object *)object;
    (void)unused;
    self->h2.over = 1;
    hr_outlet_detach(&self->outlet);
    Py_RETURN_NONE;
}

/* The stream of a call that Python was given; NULL when nobody waits for it any more. */
static h2_stream *find_given(rpc_object *self, unsigned int id) {
    h2_stream *stream = self->h2.over && !self->outlet.write ? NULL : h2_find(&self->h2, id);
    return stream && stream->given ? stream : NULL;
}

static PyObject *rpc_answer(PyObject *object, PyObject *args) {
    rpc_object *self = (rpc_object *)object;
    unsigned int id;
    const char *body;
    Py_ssize_t size;
    if (!is_ready(self) || !PyArg_ParseTuple(args, "Iy#:answer", &id, &body, &size)) return NULL;
    h2_stream *stream = find_given(self, id);
    if (stream) grpc_answer(&self->h2, stream, body, (size_t)size);
    return settle(self);
}

static PyObject *rpc_refuse(PyObject *object, PyObject *args) {
    rpc_object *self = (rpc_object *)object;
    unsigned int id;
    const char *text;
    Py_ssize_t size;
    int status;
    if (!is_ready(self) || !PyArg_ParseTuple(args, "Iis#:refuse", &id, &status, &text, &size)) return NULL;
    h2_stream *stream = find_given(self, id);
    if (stream) grpc_refuse(&self->h2, stream, status, text, (size_t)size);
    return settle(self);
}

static PyObject *rpc_drain(PyObject *object, PyObject *unused) {
    rpc_object *self = (rpc_object *)object;
    (void)unused;
    if (!is_ready(self)) return NULL;
    h2_drain(&self->h2);
    return settle(self);
}

static PyObject *rpc_finish(PyObject *object, PyObject *unused) {
    (void)unused;
    h2_finish(&((rpc_object *)object)->h2);
    return settle((rpc_object *)object);
}

static PyObject *rpc_tick(PyObject *object, PyObject *unused) {
    rpc_object *self = (rpc_object *)object;
    (void)unused;
    if (!is_ready(self)) return NULL;
    h2_tick(&self->h2);
    return settle(self);
}

static PyObject *rpc_pause(PyObject *object, PyObject *paused) {
    rpc_object *self = (rpc_object *)object;
    int is_paused = PyObject_IsTrue(paused);
    if (is_paused < 0 || !is_ready(self)) return NULL;
    self->h2.paused = (char)is_paused;
    if (!is_paused) h2_pump(&self->h2);
    return settle(self);
}

static int rpc_init(PyObject *object, PyObject *args, PyObject *named) {
    rpc_object *self = (rpc_object *)object;
    h2_connection *c = &self->h2;
    PyObject *gate;
    Py_ssize_t message_limit;
    double request_timeout, idle_timeout;
    (void)named;
    if (!PyArg_ParseTuple(args, "O!nIdd:RpcWire", hr_gate_type, &gate, &message_limit, &c->head_limit, &request_timeout,
                          &idle_timeout)) {
        return -1;
    }
    if (self->gate || message_limit < 0 || message_limit > H2_LARGEST - H2_FRAME || c->head_limit > H2_LARGEST) {
        PyErr_SetString(PyExc_ValueError, "expected sizes below 2 GiB, once");
        return -1;
    }
    c->host = &host;
    c->account = hr_gate_account(gate);
    c->message_limit = (uint32_t)message_limit;
    c->request_timeout = (long long)request_timeout;
    c->idle_timeout = (long long)idle_timeout;
    self->gate = Py_NewRef(gate);
    self->outlet.descriptor = -1;
    c->clock = c->seen = c->unfinished_since = hr_gate_clock(gate);
    return 0;
}

static int rpc_traverse(PyObject *object, visitproc visit, void *arg) {
    rpc_object *self = (rpc_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->gate);
    return hr_outlet_traverse(&self->outlet, visit, arg);
}

static int rpc_clear(PyObject *object) {
    rpc_object *self = (rpc_object *)object;
    Py_CLEAR(self->gate);
    hr_outlet_clear(&self->outlet);
    return 0;
}

static void rpc_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    rpc_clear(object);
    h2_release(&((rpc_object *)object)->h2);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef rpc_methods[] = {
    {"data_received", rpc_data_received, METH_O, "data_received(data): take what arrived, answer what can be."},
    {"attach", rpc_attach, METH_VARARGS, "attach(transport, descriptor): greet; where answers go."},
    {"detach", rpc_detach, METH_NOARGS, "detach(): the connection is gone."},
    {"answer", rpc_answer, METH_VARARGS, "answer(stream, message): nothing when the call was given up."},
    {"refuse", rpc_refuse, METH_VARARGS, "refuse(stream, status, text): likewise."},
    {"drain", rpc_drain, METH_NOARGS, "drain(): announce the end, finish what is open."},
    {"finish", rpc_finish, METH_NOARGS, "finish(): the peer sends nothing more."},
    {"tick", rpc_tick, METH_NOARGS, "tick(): a second has passed."},
    {"pause", rpc_pause, METH_O, "pause(paused): whether the transport has enough to send."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef rpc_members[] = {
    {"streams", T_UINT, offsetof(rpc_object, h2.n_streams), READONLY, "Calls that are open."},
    {"queued", T_BOOL, offsetof(rpc_object, outlet.queued), 0, "To be set before bytes are given to the transport."},
    {"over", T_BOOL, offsetof(rpc_object, h2.over), READONLY, "Nothing more is read; close when all is sent."},
    {"broken", T_BOOL, offsetof(rpc_object, h2.broken), READONLY, "Memory ran out; close at once."},
    {"seen", T_LONGLONG, offsetof(rpc_object, h2.seen), READONLY, "The gate's clock when bytes last arrived."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot rpc_slots[] = {
    {Py_tp_doc, "RpcWire(gate, message_limit, head_limit, request_timeout, idle_timeout): the base of a gRPC connection."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, rpc_init},
    {Py_tp_traverse, rpc_traverse},
    {Py_tp_clear, rpc_clear},
    {Py_tp_dealloc, rpc_dealloc},
    {Py_tp_methods, rpc_methods},
    {Py_tp_members, rpc_members},
    {0, NULL},
};

PyType_Spec hr_rpc_spec = {"serving.native._native.RpcWire", sizeof(rpc_object), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, rpc_slots};

int hr_name_rpc(void) {
    called_name = PyUnicode_InternFromString("called");
    cancelled_name = PyUnicode_InternFromString("cancelled");
    ending_name = PyUnicode_InternFromString("ending");
    return called_name && cancelled_name && ending_name ? 0 : -1;
}
