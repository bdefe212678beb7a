/* How much a JSON text would become, told before it is parsed: one pass, no memory, and other threads go on meanwhile. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "module.h"

typedef struct {
    const char *data, *key;
    Py_ssize_t size, key_size, every;
    long long commas, containers, deepest, widest; /* `widest`: commas and containers within one element of the list */
    long long elements, wide;
    Py_ssize_t start, end; /* of the list's inside; start 0: there is none, or several */
    int lists, filled, broken;
    Py_ssize_t *cuts; /* where every `every`-th element begins, but the first */
    Py_ssize_t n_cuts, room;
} outline;

/* Past a string; its inside is [from, to). The end of the text ends it, too. */
static Py_ssize_t skip_string(const outline *o, Py_ssize_t i) {
    while (i < o->size) {
        char c = o->data[i];
        if (c == '"') return i;
        i += c == '\\' ? 2 : 1;
    }
    return o->size;
}

static int cut(outline *o, Py_ssize_t at) {
    if (o->n_cuts == o->room) {
        Py_ssize_t room = o->room ? 2 * o->room : 64;
        Py_ssize_t *cuts = realloc(o->cuts, (size_t)room * sizeof *cuts);
        if (!cuts) return 0;
        o->cuts = cuts;
        o->room = room;
    }
    o->cuts[o->n_cuts++] = at;
    return 1;
}

static void end_element(outline *o) {
    if (o->wide > o->widest) o->widest = o->wide;
    o->wide = 0;
}

static int scan(outline *o) {
    long long depth = 0;
    int inside = 0, named = 0; /* the list; a key of that name came last */
    Py_ssize_t from = 0, to = 0;
    for (Py_ssize_t i = 0; i < o->size; i++) {
        char c = o->data[i];
        if (inside && depth == 2 && c != ']' && c > ' ') o->filled = 1;
        switch (c) {
        case '"':
            from = i + 1;
            i = to = skip_string(o, from);
            break;
        case ':':
            if (depth == 1) named = to - from == o->key_size && !memcmp(o->data + from, o->key, (size_t)o->key_size);
            break;
        case '[':
        case '{':
            o->containers++;
            depth++;
            if (depth > o->deepest) o->deepest = depth;
            if (inside) o->wide++;
            if (c == '[' && depth == 2 && named) {
                o->lists++;
                o->start = i + 1;
                inside = 1;
                named = 0;
            }
            break;
        case ']':
        case '}':
            depth--;
            if (inside && depth == 1) {
                end_element(o);
                o->end = i;
                inside = 0;
            }
            if (depth < 0) o->broken = 1;
            break;
        case ',':
            o->commas++;
            if (depth == 1) named = 0;
            if (!inside) break;
            if (depth > 2) {
                o->wide++;
            } else {
                end_element(o);
                if (++o->elements % o->every == 0 && !cut(o, i + 1)) return 0;
            }
            break;
        default:
            break;
        }
    }
    if (depth != 0 || inside) o->broken = 1;
    return 1;
}

PyObject *hr_outline(PyObject *module, PyObject *args) {
    Py_buffer body;
    outline o = {0};
    int done;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y#n:outline", &body, &o.key, &o.key_size, &o.every)) return NULL;
    o.data = body.buf;
    o.size = body.len;
    if (o.every < 1) o.every = 1;
    Py_BEGIN_ALLOW_THREADS
    done = scan(&o);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&body);
    PyObject *cuts = done ? PyList_New(o.n_cuts) : PyErr_NoMemory();
    for (Py_ssize_t i = 0; cuts && i < o.n_cuts; i++) {
        PyObject *at = PyLong_FromSsize_t(o.cuts[i]);
        if (!at) Py_CLEAR(cuts);
        else PyList_SET_ITEM(cuts, i, at);
    }
    free(o.cuts);
    if (!cuts) return NULL;
    int listed = o.lists == 1 && !o.broken;
    return Py_BuildValue("LLLLnnN", o.commas + o.containers, o.deepest, o.widest,
                         listed ? o.elements + (o.filled ? 1 : 0) : -1LL, o.start, o.end, cuts);
}
