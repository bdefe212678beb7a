/* The sending side that connections of every protocol share; see outlet.h. */
#include "outlet.h"

#include <sys/socket.h>

int hr_outlet_attach(hr_outlet *outlet, PyObject *args) {
    PyObject *transport;
    int descriptor;
    if (!PyArg_ParseTuple(args, "Oi:attach", &transport, &descriptor)) return -1;
    PyObject *write = PyObject_GetAttrString(transport, "write");
    PyObject *queued_size = write ? PyObject_GetAttrString(transport, "get_write_buffer_size") : NULL;
    if (!queued_size) {
        Py_XDECREF(write);
        return -1;
    }
    Py_XSETREF(outlet->write, write);
    Py_XSETREF(outlet->queued_size, queued_size);
    outlet->descriptor = descriptor;
    return 0;
}

void hr_outlet_detach(hr_outlet *outlet) {
    outlet->descriptor = -1;
    hr_outlet_clear(outlet);
}

int hr_outlet_traverse(hr_outlet *outlet, visitproc visit, void *arg) {
    Py_VISIT(outlet->write);
    Py_VISIT(outlet->queued_size);
    return 0;
}

void hr_outlet_clear(hr_outlet *outlet) {
    Py_CLEAR(outlet->write);
    Py_CLEAR(outlet->queued_size);
}

/* Whether the transport holds no bytes that have to go out first; -1 with an exception. */
static int is_drained(hr_outlet *outlet) {
    if (!outlet->queued) return 1;
    PyObject *size = PyObject_CallNoArgs(outlet->queued_size);
    if (!size) return -1;
    int held = PyObject_IsTrue(size);
    Py_DECREF(size);
    if (held == 0) outlet->queued = 0;
    return held < 0 ? -1 : !held;
}

Py_ssize_t hr_outlet_send(hr_outlet *outlet, const char *start, size_t size) {
    int drained = outlet->descriptor < 0 ? 0 : is_drained(outlet);
    if (drained <= 0) return drained;
    Py_ssize_t sent = send(outlet->descriptor, start, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? 0 : sent; /* the transport meets the error, too */
}

PyObject *hr_outlet_queue(hr_outlet *outlet, const char *start, size_t size) {
    PyObject *rest = PyBytes_FromStringAndSize(start, (Py_ssize_t)size);
    if (!rest) return NULL;
    outlet->queued = 1;
    PyObject *done = PyObject_CallOneArg(outlet->write, rest);
    Py_DECREF(rest);
    return done;
}
