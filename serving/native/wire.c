/* What an event loop calls when bytes arrive: ordinary requests are answered here, everything else in Python.
 *
 * A Gate is shared by all connections of a process: the hot path that is in force, the clock and the access log's
 * sampling. A Wire is the base of one connection. Its answer goes straight to the socket while nothing else is queued
 * there; what the socket does not take goes through the transport, which also meets any error.
 */
#include "fast.h"
#include "outlet.h"

#include <limits.h>
#include <math.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    fast_object *fast; /* or NULL: everything is for Python */
    long long clock;
    hr_account account;
    double share, due;
} gate_object;

typedef struct {
    PyObject_HEAD
    gate_object *gate;
    hr_outlet outlet;
    char plain;                    /* the next byte begins a request, and nothing is being answered */
    signed char sampled;           /* whether the request now arriving is logged; -1: not decided */
    long long seen;
} wire_object;

static PyObject *received_name;

/* Every 1/share-th request: the share is met exactly, not by chance. */
static int is_due(gate_object *self) {
    self->due += self->share;
    if (self->due < 1.0) return 0;
    self->due = fmod(self->due, 1.0);
    return self->share > 0.0;
}

static PyObject *gate_due(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyBool_FromLong(is_due((gate_object *)self));
}

fast_object *hr_gate_fast(PyObject *gate) { return ((gate_object *)gate)->fast; }

hr_account *hr_gate_account(PyObject *gate) { return &((gate_object *)gate)->account; }

long long hr_gate_clock(PyObject *gate) { return ((gate_object *)gate)->clock; }

int hr_gate_due(PyObject *gate) { return ((gate_object *)gate)->share > 0.0 && is_due((gate_object *)gate); }

static PyObject *gate_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    static char *names[] = {"share", NULL};
    double share = 0.0;
    if (!PyArg_ParseTupleAndKeywords(args, named, "|d:Gate", names, &share)) return NULL;
    gate_object *self = (gate_object *)type->tp_alloc(type, 0);
    if (self) {
        self->share = share;
        self->due = 1.0 - share;
        self->account.limit = LLONG_MAX;
    }
    return (PyObject *)self;
}

static void gate_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    Py_CLEAR(((gate_object *)object)->fast);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *get_fast(PyObject *object, void *unused) {
    PyObject *fast = (PyObject *)((gate_object *)object)->fast;
    (void)unused;
    return Py_NewRef(fast ? fast : Py_None);
}

static int set_fast(PyObject *object, PyObject *fast, void *unused) {
    (void)unused;
    if (fast && fast != Py_None && !Py_IS_TYPE(fast, hr_fast_type)) {
        PyErr_Format(PyExc_TypeError, "expected a Fast or None, got %.80s", Py_TYPE(fast)->tp_name);
        return -1;
    }
    fast_object *kept = fast && fast != Py_None ? (fast_object *)Py_NewRef(fast) : NULL;
    Py_XSETREF(((gate_object *)object)->fast, kept);
    return 0;
}

static PyObject *wire_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    (void)args, (void)named;
    wire_object *self = (wire_object *)type->tp_alloc(type, 0);
    if (self) {
        self->outlet.descriptor = -1;
        self->plain = 1;
        self->sampled = -1;
    }
    return (PyObject *)self;
}

static int wire_init(PyObject *object, PyObject *args, PyObject *named) {
    wire_object *self = (wire_object *)object;
    PyObject *gate;
    (void)named;
    if (!PyArg_ParseTuple(args, "O!:Wire", hr_gate_type, &gate)) return -1;
    Py_XSETREF(self->gate, (gate_object *)Py_NewRef(gate));
    self->seen = self->gate->clock;
    return 0;
}

static int wire_traverse(PyObject *object, visitproc visit, void *arg) {
    wire_object *self = (wire_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->gate);
    return hr_outlet_traverse(&self->outlet, visit, arg);
}

static int wire_clear(PyObject *object) {
    wire_object *self = (wire_object *)object;
    Py_CLEAR(self->gate);
    hr_outlet_clear(&self->outlet);
    return 0;
}

static void wire_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    wire_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *wire_attach(PyObject *object, PyObject *args) {
    if (hr_outlet_attach(&((wire_object *)object)->outlet, args)) return NULL;
    Py_RETURN_NONE;
}

static PyObject *wire_detach(PyObject *object, PyObject *unused) {
    wire_object *self = (wire_object *)object;
    (void)unused;
    self->plain = 0;
    hr_outlet_detach(&self->outlet);
    Py_RETURN_NONE;
}

/* Send an answer: what the socket does not take now goes through the transport. */
static PyObject *send_answer(wire_object *self, fast_bytes answer) {
    Py_ssize_t sent = hr_outlet_send(&self->outlet, answer.start, answer.size);
    if (sent < 0) return NULL;
    if (sent == (Py_ssize_t)answer.size) Py_RETURN_NONE;
    return hr_outlet_queue(&self->outlet, answer.start + sent, answer.size - (size_t)sent);
}

static PyObject *wire_data_received(PyObject *object, PyObject *data) {
    wire_object *self = (wire_object *)object;
    fast_object *fast = self->gate ? self->gate->fast : NULL;
    if (self->plain && fast && self->outlet.write && PyBytes_CheckExact(data)) {
        fast_bytes answer = {NULL, 0};
        self->seen = self->gate->clock;
        self->sampled = self->gate->share > 0.0 ? (signed char)is_due(self->gate) : 0;
        Py_INCREF(fast); /* a scorer in Python may let a swap in, and the answer is in its memory */
        if (!self->sampled) answer = fast_answer(fast, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
        PyObject *done = answer.start ? send_answer(self, answer) : NULL;
        Py_DECREF(fast);
        if (answer.start) {
            self->sampled = -1;
            return done;
        }
    }
    return PyObject_CallMethodOneArg(object, received_name, data);
}

static PyMethodDef gate_methods[] = {
    {"due", gate_due, METH_NOARGS, "due() -> bool: whether the next request is one to log."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef gate_members[] = {
    {"clock", T_LONGLONG, offsetof(gate_object, clock), 0, "Whole seconds since start."},
    {"held", T_LONGLONG, offsetof(gate_object, account.held), 0, "Bytes of all requests in flight."},
    {"limit", T_LONGLONG, offsetof(gate_object, account.limit), 0, "How many there may be."},
    {"refused", T_LONGLONG, offsetof(gate_object, account.refused), 0, "gRPC messages refused for that."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef gate_attributes[] = {
    {"fast", get_fast, set_fast, "The hot path in force, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot gate_slots[] = {
    {Py_tp_doc, "Gate(share): what all connections of a process share; `share` of the requests are logged."},
    {Py_tp_new, gate_new},
    {Py_tp_dealloc, gate_dealloc},
    {Py_tp_methods, gate_methods},
    {Py_tp_members, gate_members},
    {Py_tp_getset, gate_attributes},
    {0, NULL},
};

PyType_Spec hr_gate_spec = {"serving.native._native.Gate", sizeof(gate_object), 0, Py_TPFLAGS_DEFAULT, gate_slots};

static PyMethodDef wire_methods[] = {
    {"data_received", wire_data_received, METH_O, "data_received(data): answer it, or call received(data)."},
    {"attach", wire_attach, METH_VARARGS, "attach(transport, descriptor): where answers go."},
    {"detach", wire_detach, METH_NOARGS, "detach(): the connection is gone."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef wire_members[] = {
    {"plain", T_BOOL, offsetof(wire_object, plain), 0, "Whether the next byte begins a request and none is unanswered."},
    {"queued", T_BOOL, offsetof(wire_object, outlet.queued), 0, "To be set before bytes are given to the transport."},
    {"sampled", T_BYTE, offsetof(wire_object, sampled), 0, "Whether the arriving request is logged; -1: not decided."},
    {"seen", T_LONGLONG, offsetof(wire_object, seen), 0, "The gate's clock when bytes last arrived or left."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot wire_slots[] = {
    {Py_tp_doc, "Wire(gate): the base of a connection; `received(data)` gets what is not answered here."},
    {Py_tp_new, wire_new},
    {Py_tp_init, wire_init},
    {Py_tp_traverse, wire_traverse},
    {Py_tp_clear, wire_clear},
    {Py_tp_dealloc, wire_dealloc},
    {Py_tp_methods, wire_methods},
    {Py_tp_members, wire_members},
    {0, NULL},
};

PyType_Spec hr_wire_spec = {"serving.native._native.Wire", sizeof(wire_object), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, wire_slots};

int hr_name_wire(void) {
    received_name = PyUnicode_InternFromString("received");
    return received_name ? 0 : -1;
}
