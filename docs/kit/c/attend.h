/* Attention in the type `REAL`. This file is included once for double and once for float. */

/* Attend from one query, `scores` and `visible` being those of its keys. Returns log(sum(exp(scores))). */
static REAL NAMED(softmax)(REAL *scores, const bool *visible, int keys, REAL *weights) {
    REAL largest = -INFINITY, total = 0;
    bool sees_a_key = false;
    for (int j = 0; j < keys; j++) {
        weights[j] = 0;
        if (!visible[j]) continue;
        sees_a_key = true;
        if (scores[j] > largest) largest = scores[j];
    }
    if (!sees_a_key) return -INFINITY;
    for (int j = 0; j < keys; j++)
        if (visible[j]) total += weights[j] = EXP(scores[j] - largest);
    for (int j = 0; j < keys; j++)
        if (visible[j]) weights[j] /= total;
    return largest + LOG(total);
}

static void NAMED(attend)(const Call *call, double *output, double *all_weights, double *log_sum_exp) {
    int d = call->head_size, v = call->value_size, keys = call->keys;
    REAL *scores = calloc(keys + 1, sizeof(REAL)), *weights = calloc(keys + 1, sizeof(REAL));
    bool *visible = calloc(keys + 1, sizeof(bool));

    for (int b = 0; b < call->batch; b++)
        for (int h = 0; h < call->heads; h++)
            for (int i = 0; i < call->queries; i++) {
                int row = (b * call->heads + h) * call->queries + i;
                int group = b * call->groups + h / (call->heads / call->groups);
                Json *query = values(call->query) + row * d, *key = values(call->key) + group * keys * d;
                Json *value = values(call->value) + group * keys * v;

                for (int j = 0; j < keys; j++) {
                    Json *bias = at(call->bias, call, b, h, i, j);
                    REAL score = 0;
                    for (int c = 0; c < d; c++) score += (REAL)query[c].number * (REAL)key[j * d + c].number;
                    score *= (REAL)call->scale;
                    if (call->softcap > 0) score = (REAL)call->softcap * TANH(score / (REAL)call->softcap);
                    scores[j] = bias ? score + (REAL)bias->number : score;
                    visible[j] = is_visible(call, b, h, i, j) && !(bias && bias->number == -INFINITY);
                }
                log_sum_exp[row] = NAMED(softmax)(scores, visible, keys, weights);
                for (int j = 0; j < keys; j++) all_weights[row * keys + j] = weights[j];
                for (int c = 0; c < v; c++) {
                    REAL sum = 0;
                    for (int j = 0; j < keys; j++)
                        if (visible[j]) sum += weights[j] * (REAL)value[j * v + c].number;
                    output[row * v + c] = sum;
                }
            }
    free(scores);
    free(weights);
    free(visible);
}
