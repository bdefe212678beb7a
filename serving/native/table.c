/* Memory of a table, its header, and scoring. The format is described in table.h. */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT32_MAX 3.4028234663852886e38

struct hr_block {
    hr_block *next;
    size_t unused; /* keeps the memory behind it aligned to 16 */
};

static void *allocate(hr_table *table, hr_block **pool, size_t count, size_t size) {
    if (size != 0 && count > (SIZE_MAX / 2) / size) {
        hr_fail(table, "a count is too large");
        return NULL;
    }
    hr_block *block = calloc(1, sizeof *block + count * size + 1);
    if (!block) {
        hr_fail(table, "out of memory");
        return NULL;
    }
    block->next = *pool;
    *pool = block;
    return block + 1;
}

static void release(hr_block **pool) {
    while (*pool) {
        hr_block *block = *pool;
        *pool = block->next;
        free(block);
    }
}

/* Zeroed memory that lives as long as the table; NULL (with `error`) when there is none. */
void *hr_allocate(hr_table *table, size_t count, size_t size) { return allocate(table, &table->blocks, count, size); }

/* As above, until the table is loaded. */
void *hr_draft(hr_table *table, size_t count, size_t size) { return allocate(table, &table->drafts, count, size); }

/* Room in the scratch memory, on a cache line of its own. */
size_t hr_reserve(hr_table *table, size_t bytes) {
    size_t offset = table->scratch;
    table->scratch += (bytes + 63) & ~(size_t)63;
    return offset;
}

int hr_fail(hr_table *table, const char *what) {
    if (!table->error[0]) snprintf(table->error, sizeof table->error, "%s", what);
    return -1;
}

void hr_free(hr_table *table) {
    release(&table->blocks);
    release(&table->drafts);
}

/* CRC-32 as in zlib, a nibble at a time: a table of 16 entries is enough for a file read once. */
static uint32_t crc32_of(const unsigned char *data, size_t size) {
    static const uint32_t steps[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = steps[crc & 15] ^ (crc >> 4);
        crc = steps[crc & 15] ^ (crc >> 4);
    }
    return ~crc;
}

int hr_load(hr_table *table, const unsigned char *data, size_t size) {
    uint32_t version, crc;
    uint64_t length;
    if (size < 32 || memcmp(data, "HEADRACE", 8) != 0) return hr_fail(table, "not a model table");
    memcpy(&version, data + 8, 4);
    memcpy(&crc, data + 12, 4);
    memcpy(&length, data + 16, 8);
    if (version != 1) return hr_fail(table, "the table has another format version than 1");
    if (length != size) return hr_fail(table, "the table is cut off or has bytes after its end");
    if (crc != crc32_of(data + 24, size - 24)) return hr_fail(table, "the table does not match its checksum");
    memcpy(&table->columns, data + 24, 4);
    memcpy(&table->width, data + 28, 4);
    if (table->columns == 0 || table->columns > HR_MAX_COLUMNS) return hr_fail(table, "columns: out of range");
    if (table->width == 0 || table->width > HR_MAX_WIDTH) return hr_fail(table, "width: out of range");
    int refused = hr_read_model(table, data + 32, size - 32);
    release(&table->drafts);
    return refused;
}

/* The row, followed by its derived columns where there are any. */
const double *hr_front_values(const hr_table *table, const hr_front *front, const double *row, char *scratch) {
    if (front->n_derived == 0) return row;
    double *values = (double *)(scratch + front->values);
    memcpy(values, row, table->columns * sizeof *row);
    for (uint32_t i = 0; i < front->n_derived; i++) {
        const hr_derived *derived = &front->derived[i];
        double value;
        if (derived->operation == HR_RATIO) {
            value = values[derived->columns[0]] / values[derived->columns[1]];
        } else {
            value = derived->coefficients[0] * values[derived->columns[0]];
            for (uint32_t k = 1; k < derived->n; k++) value += derived->coefficients[k] * values[derived->columns[k]];
        }
        values[table->columns + i] = fabs(value) <= FLOAT32_MAX ? value : NAN;
    }
    return values;
}

static double *fill_terms(const hr_table *table, const hr_model *model, const double *row, char *scratch) {
    double *terms = (double *)(scratch + model->terms);
    const double *values = hr_front_values(table, &model->front, row, scratch);
    for (uint32_t i = 0; i < model->front.n_terms; i++) terms[i] = hr_term_value(&model->front.terms[i], values);
    return terms;
}

static void sum_linear(const hr_model *model, const double *terms, double *raw) {
    const double *coefficient = model->coefficient;
    for (uint32_t k = 0; k < model->raw; k++, coefficient += model->front.n_terms) {
        double sum = 0.0;
        for (uint32_t i = 0; i < model->front.n_terms; i++) sum += coefficient[i] * terms[i];
        raw[k] = sum + model->intercept[k];
    }
}

static double expit(double x) { return 1.0 / (1.0 + exp(-x)); }

static void softmax(const double *raw, uint32_t n, double *out) {
    double most = raw[0], sum = 0.0;
    for (uint32_t k = 1; k < n; k++) most = raw[k] > most ? raw[k] : most;
    for (uint32_t k = 0; k < n; k++) sum += out[k] = exp(raw[k] - most);
    for (uint32_t k = 0; k < n; k++) out[k] /= sum;
}

static void link_raw(const hr_model *model, const double *raw, double *out) {
    if (model->link == HR_SOFTMAX) {
        softmax(raw, model->raw, out);
    } else if (model->link == HR_EXPIT) {
        out[1] = expit(raw[0]);
        out[0] = 1.0 - out[1];
    } else {
        memcpy(out, raw, model->raw * sizeof *raw);
    }
}

static double kernel_value(const hr_kernel *svm, const double *x, const double *vector, uint32_t n) {
    double sum = 0.0;
    if (svm->kernel == HR_LINEAR_KERNEL) {
        for (uint32_t i = 0; i < n; i++) sum += x[i] * vector[i];
        return sum;
    }
    for (uint32_t i = 0; i < n; i++) {
        double difference = x[i] - vector[i];
        sum += difference * difference;
    }
    return exp(-svm->gamma * sum);
}

/* The decision of classes a < b: vectors of a weigh by row b - 1, those of b by row a (libsvm's layout). */
static double decide_pair(const hr_kernel *svm, const double *kernels, const uint32_t *first, uint32_t a, uint32_t b) {
    const double *of_a = svm->dual + (size_t)(b - 1) * svm->vectors, *of_b = svm->dual + (size_t)a * svm->vectors;
    double sum = 0.0;
    for (uint32_t i = first[a]; i < first[a] + svm->of_class[a]; i++) sum += of_a[i] * kernels[i];
    for (uint32_t i = first[b]; i < first[b] + svm->of_class[b]; i++) sum += of_b[i] * kernels[i];
    return sum;
}

/* One-versus-one decisions to one score per class: votes, and confidences squeezed below half a vote to break ties. */
static void vote(const hr_kernel *svm, const double *kernels, const uint32_t *first, double *votes, double *trust) {
    uint32_t pair = 0;
    memset(votes, 0, svm->classes * sizeof *votes);
    memset(trust, 0, svm->classes * sizeof *trust);
    for (uint32_t a = 0; a < svm->classes; a++) {
        for (uint32_t b = a + 1; b < svm->classes; b++, pair++) {
            double decision = decide_pair(svm, kernels, first, a, b) + svm->intercept[pair];
            trust[a] += decision;
            trust[b] -= decision;
            votes[decision < 0 ? b : a] += 1.0;
        }
    }
    for (uint32_t a = 0; a < svm->classes; a++) votes[a] += trust[a] / (3.0 * (fabs(trust[a]) + 1.0));
}

static void score_kernel(const hr_model *model, const double *terms, double *out, char *scratch) {
    const hr_kernel *svm = &model->svm;
    double *kernels = (double *)(scratch + svm->kernels);
    double *trust = kernels + svm->vectors;
    uint32_t *first = (uint32_t *)(trust + svm->classes);
    uint32_t n = model->front.n_terms, sum = 0;
    for (uint32_t i = 0; i < svm->vectors; i++) kernels[i] = kernel_value(svm, terms, svm->vector + (size_t)i * n, n);
    for (uint32_t a = 0; a < svm->classes; a++) {
        first[a] = sum;
        sum += svm->of_class[a];
    }
    if (svm->classes == 2) {
        out[0] = decide_pair(svm, kernels, first, 0, 1) + svm->intercept[0];
    } else {
        vote(svm, kernels, first, out, trust);
    }
}

/* Platt scaling per class, normalised; what exceeds 1 by rounding is 1. */
static void calibrate(const hr_model *model, const double *decisions, double *out) {
    uint32_t n = model->members[0].outputs;
    double sum = 0.0;
    if (n == 1) {
        out[1] = expit(-(model->coefficient[0] * decisions[0] + model->intercept[0]));
        out[0] = 1.0 - out[1];
    } else {
        for (uint32_t k = 0; k < n; k++) {
            sum += out[k] = expit(-(model->coefficient[k] * decisions[k] + model->intercept[k]));
        }
        for (uint32_t k = 0; k < n; k++) out[k] = sum != 0.0 ? out[k] / sum : 1.0 / n;
    }
    for (uint32_t k = 0; k < model->outputs; k++) {
        if (out[k] > 1.0 && out[k] <= 1.0 + 1e-5) out[k] = 1.0;
    }
}

static void score_model(const hr_table *table, const hr_model *model, const double *row, double *out, char *scratch);

static void mix(const hr_table *table, const hr_model *model, const double *row, double *out, char *scratch) {
    double *scores = (double *)(scratch + model->scores);
    for (uint32_t k = 0; k < model->outputs; k++) out[k] = 0.0;
    for (uint32_t i = 0; i < model->n_members; i++) {
        score_model(table, &model->members[i], row, scores, scratch);
        for (uint32_t k = 0; k < model->outputs; k++) out[k] += scores[k] * model->weights[i];
    }
    for (uint32_t k = 0; k < model->outputs; k++) out[k] /= model->divisor;
}

static void score_model(const hr_table *table, const hr_model *model, const double *row, double *out, char *scratch) {
    double *raw = (double *)(scratch + model->scores);
    switch (model->kind) {
    case HR_MIX:
        mix(table, model, row, out, scratch);
        break;
    case HR_LINEAR:
        sum_linear(model, fill_terms(table, model, row, scratch), raw);
        link_raw(model, raw, out);
        break;
    case HR_TREES:
        hr_sum_trees(model, hr_front_values(table, &model->front, row, scratch), raw, scratch);
        link_raw(model, raw, out);
        break;
    case HR_KERNEL:
        score_kernel(model, fill_terms(table, model, row, scratch), out, scratch);
        break;
    default: /* HR_SIGMOID: the loader lets nothing else through */
        score_model(table, &model->members[0], row, raw, scratch);
        calibrate(model, raw, out);
    }
}

void hr_score(const hr_table *table, const double *features, size_t rows, double *out, char *scratch) {
    for (size_t i = 0; i < rows; i++) {
        score_model(table, &table->model, features + i * table->columns, out + i * table->width, scratch);
    }
}
