/* Reads the models of a table and refuses whatever evaluation could not bear. The format is described in table.h. */
#include "table.h"

#include <math.h>
#include <string.h>

typedef struct {
    hr_table *table;
    const unsigned char *at, *end;
    void *(*allocate)(hr_table *, size_t, size_t);
} reader;

static int fail(reader *in, const char *what) { return hr_fail(in->table, what); }

static int read_u32(reader *in, uint32_t *value, uint32_t least, uint32_t most, const char *what) {
    if ((size_t)(in->end - in->at) < 4) return fail(in, what);
    memcpy(value, in->at, 4);
    in->at += 4;
    return *value < least || *value > most ? fail(in, what) : 0;
}

/* A copy of `count` items; their bytes must be there before memory is asked for. */
static void *read_array(reader *in, size_t count, size_t size, const char *what) {
    size_t left = (size_t)(in->end - in->at);
    if (count > left / size) {
        fail(in, what);
        return NULL;
    }
    void *copy = in->allocate(in->table, count, size);
    if (copy) {
        memcpy(copy, in->at, count * size);
        in->at += count * size;
    }
    return copy;
}

static double *read_finite(reader *in, size_t count, const char *what) {
    double *numbers = read_array(in, count, sizeof(double), what);
    for (size_t i = 0; numbers && i < count; i++) {
        if (!isfinite(numbers[i])) {
            fail(in, what);
            return NULL;
        }
    }
    return numbers;
}

static int read_number(reader *in, double *value, const char *what) {
    if ((size_t)(in->end - in->at) < sizeof *value) return fail(in, what);
    memcpy(value, in->at, sizeof *value);
    in->at += sizeof *value;
    return isnan(*value) ? fail(in, what) : 0;
}

static int read_derived(reader *in, hr_derived *derived, uint32_t known) {
    if (read_u32(in, &derived->operation, HR_RATIO, HR_COMBINATION, "derived: unknown operation")) return -1;
    if (read_u32(in, &derived->n, 1, HR_MAX_COLUMNS, "derived: number of columns")) return -1;
    if (derived->operation == HR_RATIO && derived->n != 2) return fail(in, "derived: a ratio has two columns");
    derived->columns = read_array(in, derived->n, sizeof(uint32_t), "derived: cut off");
    if (!derived->columns) return -1;
    for (uint32_t i = 0; i < derived->n; i++) {
        if (derived->columns[i] >= known) return fail(in, "derived: no such column");
    }
    if (derived->operation == HR_RATIO) return 0;
    derived->coefficients = read_finite(in, derived->n, "derived: coefficients");
    return derived->coefficients ? 0 : -1;
}

static int read_term(reader *in, hr_term *term, uint32_t known) {
    if (read_u32(in, &term->column, 0, known - 1, "term: no such column")) return -1;
    if (read_u32(in, &term->parts, 0, HR_FILL | HR_MEAN | HR_SCALE | HR_CODE, "term: unknown part")) return -1;
    if (read_number(in, &term->fill, "term: fill") || read_number(in, &term->mean, "term: mean")) return -1;
    if (read_number(in, &term->scale, "term: scale") || read_number(in, &term->code, "term: code")) return -1;
    return 0;
}

static int read_front(reader *in, hr_front *front) {
    hr_table *table = in->table;
    if (read_u32(in, &front->n_derived, 0, HR_MAX_COLUMNS, "front: number of derived columns")) return -1;
    front->derived = hr_allocate(table, front->n_derived, sizeof *front->derived);
    if (!front->derived) return -1;
    for (uint32_t i = 0; i < front->n_derived; i++) {
        if (read_derived(in, &front->derived[i], table->columns)) return -1;
    }
    if (read_u32(in, &front->n_terms, 1, HR_MAX_TERMS, "front: number of terms")) return -1;
    if (front->n_terms > (size_t)(in->end - in->at) / 40) return fail(in, "front: cut off");
    front->terms = hr_allocate(table, front->n_terms, sizeof *front->terms);
    if (!front->terms) return -1;
    for (uint32_t i = 0; i < front->n_terms; i++) {
        if (read_term(in, &front->terms[i], table->columns + front->n_derived)) return -1;
    }
    front->values = hr_reserve(table, (table->columns + front->n_derived) * sizeof(double));
    return 0;
}

/* What a link makes of `raw` numbers; 0 when it cannot take that many. */
static uint32_t linked(uint32_t link, uint32_t raw) {
    if (link == HR_EXPIT) return raw == 1 ? 2 : 0;
    return raw;
}

static int read_linear(reader *in, hr_model *model) {
    if (read_u32(in, &model->link, 0, HR_SOFTMAX, "linear: unknown link")) return -1;
    if (read_front(in, &model->front)) return -1;
    model->raw = model->link == HR_EXPIT ? 1 : model->outputs;
    if (linked(model->link, model->raw) != model->outputs) return fail(in, "linear: outputs do not fit the link");
    model->intercept = read_finite(in, model->raw, "linear: intercept");
    model->coefficient = read_finite(in, (size_t)model->raw * model->front.n_terms, "linear: coefficients");
    model->terms = hr_reserve(in->table, model->front.n_terms * sizeof(double));
    model->scores = hr_reserve(in->table, model->raw * sizeof(double));
    return model->intercept && model->coefficient ? 0 : -1;
}

/* Check that the nodes are one tree in preorder, and count its leaves. */
static int check_nodes(reader *in, hr_tree *tree, uint32_t n_terms) {
    uint32_t *open = hr_draft(in->table, tree->nodes, sizeof *open), depth = 0;
    if (!open) return -1;
    for (uint32_t i = 0; i < tree->nodes; i++) {
        if (tree->test[i] == HR_LEAF) {
            tree->leaves++;
            if (i + 1 < tree->nodes && (depth == 0 || open[--depth] != i + 1)) return fail(in, "tree: broken shape");
            continue;
        }
        if ((tree->test[i] & ~HR_MISSING_LEFT) >= n_terms) return fail(in, "tree: no such term");
        if (isnan(tree->threshold[i])) return fail(in, "tree: threshold");
        open[depth++] = tree->right[i];
    }
    return depth ? fail(in, "tree: broken shape") : 0;
}

static int read_tree(reader *in, const hr_model *model, hr_tree *tree) {
    uint32_t leaf = model->trees.leaf;
    if (read_u32(in, &tree->output, 0, leaf == 1 ? model->raw - 1 : 0, "tree: no such output")) return -1;
    if (read_u32(in, &tree->nodes, 1, 1u << 26, "tree: number of nodes")) return -1;
    tree->test = read_array(in, tree->nodes, sizeof(uint32_t), "tree: cut off");
    tree->right = read_array(in, tree->test ? tree->nodes : 0, sizeof(uint32_t), "tree: cut off");
    tree->threshold = read_array(in, tree->right ? tree->nodes : 0, sizeof(double), "tree: cut off");
    if (in->table->error[0] || check_nodes(in, tree, model->front.n_terms)) return -1;
    tree->value = read_finite(in, (size_t)tree->leaves * leaf, "tree: leaf values");
    return tree->value ? 0 : -1;
}

static int read_trees(reader *in, hr_model *model) {
    hr_trees *trees = &model->trees;
    if (read_u32(in, &model->link, 0, HR_SOFTMAX, "trees: unknown link")) return -1;
    if (read_u32(in, &trees->single, 0, 1, "trees: cast")) return -1;
    if (read_number(in, &trees->divisor, "trees: divisor") || read_front(in, &model->front)) return -1;
    if (read_u32(in, &trees->leaf, 1, HR_MAX_WIDTH, "trees: numbers per leaf")) return -1;
    model->raw = model->link == HR_EXPIT ? 1 : model->outputs;
    if (linked(model->link, model->raw) != model->outputs) return fail(in, "trees: outputs do not fit the link");
    if (trees->leaf != 1 && trees->leaf != model->raw) return fail(in, "trees: numbers per leaf do not fit");
    if (read_u32(in, &trees->n_trees, 1, 1u << 20, "trees: number")) return -1;
    if (trees->n_trees > (size_t)(in->end - in->at) / 24) return fail(in, "trees: cut off");
    trees->trees = hr_draft(in->table, trees->n_trees, sizeof *trees->trees);
    if (!trees->trees) return -1;
    in->allocate = hr_draft;
    for (uint32_t i = 0; i < trees->n_trees; i++) {
        if (read_tree(in, model, &trees->trees[i])) return -1;
    }
    in->allocate = hr_allocate;
    in->table->n_trees += trees->n_trees;
    model->scores = hr_reserve(in->table, model->raw * sizeof(double));
    return hr_build_trees(in->table, model);
}

static int read_kernel(reader *in, hr_model *model) {
    hr_kernel *svm = &model->svm;
    uint64_t sum = 0;
    if (read_u32(in, &svm->kernel, HR_LINEAR_KERNEL, HR_RBF, "kernel: unknown")) return -1;
    if (read_number(in, &svm->gamma, "kernel: gamma") || read_front(in, &model->front)) return -1;
    if (read_u32(in, &svm->classes, 2, HR_MAX_WIDTH, "kernel: classes")) return -1;
    if (read_u32(in, &svm->vectors, 0, 1u << 24, "kernel: vectors")) return -1;
    if (model->outputs != (svm->classes == 2 ? 1 : svm->classes)) return fail(in, "kernel: outputs do not fit");
    svm->of_class = read_array(in, svm->classes, sizeof(uint32_t), "kernel: cut off");
    for (uint32_t a = 0; svm->of_class && a < svm->classes; a++) sum += svm->of_class[a];
    if (!svm->of_class || sum != svm->vectors) return fail(in, "kernel: vectors per class");
    svm->intercept = read_finite(in, (size_t)svm->classes * (svm->classes - 1) / 2, "kernel: intercepts");
    if (!svm->intercept) return -1;
    svm->dual = read_finite(in, (size_t)(svm->classes - 1) * svm->vectors, "kernel: coefficients");
    if (!svm->dual) return -1;
    svm->vector = read_finite(in, (size_t)svm->vectors * model->front.n_terms, "kernel: vectors");
    model->terms = hr_reserve(in->table, model->front.n_terms * sizeof(double));
    svm->kernels = hr_reserve(in->table, ((size_t)svm->vectors + 2 * (size_t)svm->classes) * sizeof(double));
    return svm->vector ? 0 : -1;
}

static int read_model(reader *in, hr_model *model, int depth);

static int read_members(reader *in, hr_model *model, uint32_t n, int depth) {
    model->n_members = n;
    model->members = hr_allocate(in->table, n, sizeof *model->members);
    if (!model->members) return -1;
    for (uint32_t i = 0; i < n; i++) {
        if (read_model(in, &model->members[i], depth + 1)) return -1;
    }
    model->scores = hr_reserve(in->table, HR_MAX_WIDTH * sizeof(double));
    return 0;
}

static int read_mix(reader *in, hr_model *model, int depth) {
    uint32_t n = 0;
    if (read_u32(in, &n, 1, 1024, "mix: number of members")) return -1;
    if (read_number(in, &model->divisor, "mix: divisor")) return -1;
    model->weights = read_finite(in, n, "mix: weights");
    if (!model->weights || read_members(in, model, n, depth)) return -1;
    for (uint32_t i = 0; i < n; i++) {
        if (model->members[i].outputs != model->outputs) return fail(in, "mix: members of different widths");
    }
    return 0;
}

static int read_sigmoid(reader *in, hr_model *model, int depth) {
    uint32_t n = model->outputs == 2 ? 1 : model->outputs;
    model->coefficient = read_finite(in, n, "sigmoid: a");
    if (!model->coefficient) return -1;
    model->intercept = read_finite(in, n, "sigmoid: b");
    if (!model->intercept || read_members(in, model, 1, depth)) return -1;
    return model->members[0].outputs == n && n != 2 && model->outputs > 1 ? 0 : fail(in, "sigmoid: width of its model");
}

static int read_model(reader *in, hr_model *model, int depth) {
    if (depth >= HR_MAX_DEPTH) return fail(in, "model: too deep");
    if (read_u32(in, &model->kind, HR_MIX, HR_SIGMOID, "model: unknown kind")) return -1;
    if (read_u32(in, &model->outputs, 1, HR_MAX_WIDTH, "model: outputs")) return -1;
    switch (model->kind) {
    case HR_MIX:
        return read_mix(in, model, depth);
    case HR_LINEAR:
        return read_linear(in, model);
    case HR_TREES:
        return read_trees(in, model);
    case HR_KERNEL:
        return read_kernel(in, model);
    default:
        return read_sigmoid(in, model, depth);
    }
}

int hr_read_model(hr_table *table, const unsigned char *data, size_t size) {
    reader in = {table, data, data + size, hr_allocate};
    if (read_model(&in, &table->model, 0)) return hr_fail(table, "the table is damaged");
    if (table->model.outputs != table->width) return fail(&in, "model: its outputs are not the table's width");
    if (in.at != in.end) return fail(&in, "the table has bytes after its model");
    return 0;
}
