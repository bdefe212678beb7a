/* Scores rows without Python, so that the evaluator can be run on other processors.
 *
 *   score TABLE ROWS: ROWS holds float64 [n][columns] in this machine's byte order; float64 [n][width] go to standard output
 */
#include <stdio.h>
#include <stdlib.h>

#include "table.h"

static unsigned char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) exit(2);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = malloc(*size + 1);
    if (!data || fread(data, 1, *size, file) != *size) exit(2);
    fclose(file);
    return data;
}

int main(int argc, char **argv) {
    hr_table table = {0};
    size_t size, rows;
    if (argc != 3) return 2;
    unsigned char *data = read_file(argv[1], &size);
    if (hr_load(&table, data, size)) return fprintf(stderr, "%s\n", table.error), 1;
    double *features = (double *)read_file(argv[2], &size);
    rows = size / sizeof(double) / table.columns;
    double *scores = malloc(rows * table.width * sizeof(double) + 1);
    char *scratch = aligned_alloc(64, table.scratch + 64);
    if (!scores || !scratch) return 2;
    hr_score(&table, features, rows, scores, scratch);
    fwrite(scores, sizeof(double) * table.width, rows, stdout);
    hr_free(&table);
    free(scratch);
    free(scores);
    free(features);
    free(data);
    return 0;
}
