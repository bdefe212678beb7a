/* ModelInfer over gRPC for ordinary requests: a message in, the message of its answer out. */
#ifndef HEADRACE_INFER_H
#define HEADRACE_INFER_H

#include "fast.h"

#include "proto.h"

#define INFER_OUTPUTS 2 /* a request may ask for */

enum { INFER_PREDICTION, INFER_PROBABILITIES };

typedef struct {
    proto_cursor name, contents;
    uint32_t rank, shape[2];
    int type, has_contents;
    int alone; /* it holds one column, not all of them */
} infer_tensor;

/* What a Fast needs besides to speak gRPC. */
struct infer_model {
    PyObject *held; /* the tuple that the texts below point into */
    fast_bytes name, version, head, datatype;
    fast_bytes *raw, *typed; /* of each label: in raw_output_contents, and in typed contents */
    int field;               /* of InferTensorContents that carries the labels */
    size_t longest;          /* bytes per prediction */
    uint64_t requests;
    proto_cursor *inputs, *raws; /* [n_columns] of the request at hand */
    char *reply;
};

typedef struct {
    uint32_t n_inputs, n_raws, n_outputs;
    int outputs[INFER_OUTPUTS];
    proto_cursor id;
} infer_request;

/* infer.c: the size of the answer, which lies in *reply until the next call; 0 when the message is not ordinary. */
size_t infer_answer(fast_object *self, const char *message, size_t size, const char **reply);
PyObject *infer_message(PyObject *object, PyObject *data);
PyObject *infer_set_up(PyObject *object, PyObject *args);
void infer_release(struct infer_model *infer);

/* infer_read.c: the message into self->rows; the number of rows, or 0. */
uint32_t infer_read(fast_object *self, proto_cursor in, infer_request *request);

#endif
