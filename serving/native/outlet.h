/* Where the bytes of a connection go: straight to its socket, and what that does not take through the transport. */
#ifndef HEADRACE_OUTLET_H
#define HEADRACE_OUTLET_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct {
    PyObject *write, *queued_size; /* of the transport; NULL when there is none */
    int descriptor;                /* of its socket; -1 where bytes have to go through the transport (TLS) */
    char queued;                   /* the transport may still hold bytes */
} hr_outlet;

/* Take the arguments of attach(transport, descriptor); 0, or -1 with an exception. */
int hr_outlet_attach(hr_outlet *outlet, PyObject *args);
void hr_outlet_detach(hr_outlet *outlet);
int hr_outlet_traverse(hr_outlet *outlet, visitproc visit, void *arg);
void hr_outlet_clear(hr_outlet *outlet);

/* Give bytes to the socket, unless the transport holds some that have to go out first; how many it took, or -1 with an
 * exception. */
Py_ssize_t hr_outlet_send(hr_outlet *outlet, const char *start, size_t size);

/* Give a copy of the others to the transport, which may call back; NULL with an exception. */
PyObject *hr_outlet_queue(hr_outlet *outlet, const char *start, size_t size);

#endif
