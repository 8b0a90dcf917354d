/* Products of many fp16 rows with one fp32 query, summed in fp32: what an exact search does first.

   Reading the rows is what takes the time, so a tile is read once and in order, as the processor foresees it: the
   numbers of one dimension after the other are converted, weighted and added to the scores of all the tile's rows.
   Wider registers and prefetching were no quicker, or slower (benchmarks/NOTES.md).

   Threads live as long as a call, and each takes the next few tiles as soon as it is done with its last: where
   something else computes on a core, the other threads do that one's share.

   Built where a compiler for GNU C is at hand, for x86-64 with AVX2 and for 64-bit Arm; `vector_scores` has slower ways
   for everything else. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define VECTORISED __attribute__((target("avx2,fma,f16c")))
typedef uint16_t Half;
typedef __m256 Lanes;
enum { LANES = 8 };
VECTORISED static inline Lanes halves(const Half *from) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)); }
VECTORISED static inline float half(const Half *from) { return _cvtsh_ss(*from); }
VECTORISED static inline Lanes load(const float *from) { return _mm256_loadu_ps(from); }
VECTORISED static inline void store(float *to, Lanes lanes) { _mm256_storeu_ps(to, lanes); }
VECTORISED static inline Lanes all(float number) { return _mm256_set1_ps(number); }
VECTORISED static inline Lanes multiply_add(Lanes a, Lanes b, Lanes sum) { return _mm256_fmadd_ps(a, b, sum); }
static int processor_can(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#elif defined(__aarch64__)
#include <arm_neon.h>
#define VECTORISED
typedef __fp16 Half;
typedef float32x4_t Lanes;
enum { LANES = 4 };
static inline Lanes halves(const Half *from) { return vcvt_f32_f16(vld1_f16(from)); }
static inline float half(const Half *from) { return (float)*from; }
static inline Lanes load(const float *from) { return vld1q_f32(from); }
static inline void store(float *to, Lanes lanes) { vst1q_f32(to, lanes); }
static inline Lanes all(float number) { return vdupq_n_f32(number); }
static inline Lanes multiply_add(Lanes a, Lanes b, Lanes sum) { return vfmaq_f32(sum, a, b); }
static int processor_can(void) { return 1; }
#else
#error "no kernels for this processor"
#endif

enum { USUAL_WIDTH = 128, MOST_THREADS = 64, CHAINS = 4, AHEAD = 4, BYTES_AT_ONCE = 1 << 20 };

typedef struct {
    Py_buffer halves; /* [tiles, dimension, width] */
    Py_buffer chosen; /* [count], tiles */
    Py_buffer scores; /* [count, width] */
    Py_buffer heads;  /* [count], the best of each tile */
    Py_ssize_t width, count, at_once, portions;
} Part;

typedef struct {
    Part *parts;
    Py_ssize_t count, dimension;
    const float *query;
    atomic_size_t next;
} Work;

/* The scores of so many vectors of a tile's columns, kept in registers: their number must be known to the compiler. */
VECTORISED static inline __attribute__((always_inline)) void
score_columns(const Work *work, const Half *columns, Py_ssize_t width, float *scores, int vectors)
{
    Lanes sums[USUAL_WIDTH / LANES];
    for (int vector = 0; vector < vectors; vector++)
        sums[vector] = all(0);
    for (Py_ssize_t dimension = 0; dimension < work->dimension; dimension++, columns += width) {
        const Lanes weights = all(work->query[dimension]);
        for (int vector = 0; vector < vectors; vector++)
            sums[vector] = multiply_add(weights, halves(columns + vector * LANES), sums[vector]);
    }
    for (int vector = 0; vector < vectors; vector++)
        store(scores + vector * LANES, sums[vector]);
}

/* The scores of the place-th chosen tile, and the best of them. */
VECTORISED static void score_tile(const Work *work, const Part *part, Py_ssize_t place)
{
    const Py_ssize_t width = part->width, tile = work->dimension * width;
    const Half *columns = (const Half *)part->halves.buf + ((int64_t *)part->chosen.buf)[place] * tile;
    float *scores = (float *)part->scores.buf + place * width, best = -INFINITY;
    Py_ssize_t done = 0;
    if (width == USUAL_WIDTH) {
        score_columns(work, columns, width, scores, USUAL_WIDTH / LANES);
        done = width;
    }
    for (; done + LANES <= width; done += LANES)
        score_columns(work, columns + done, width, scores + done, 1);
    for (; done < width; done++) {
        scores[done] = 0;
        for (Py_ssize_t dimension = 0; dimension < work->dimension; dimension++)
            scores[done] += work->query[dimension] * half(columns + dimension * width + done);
    }
    for (Py_ssize_t row = 0; row < width; row++)
        best = scores[row] > best ? scores[row] : best;
    ((float *)part->heads.buf)[place] = best;
}

/* The same of a tile of one row, whose dimensions lie one after the other: in chains that need not wait for each other.
   Which row is next the processor cannot foresee, so it is told (a line of the cache with each step). */
VECTORISED static void score_row(const Work *work, const Part *part, Py_ssize_t place)
{
    const Py_ssize_t dimension = work->dimension, step = CHAINS * LANES, whole = dimension - dimension % step;
    const int64_t *chosen = part->chosen.buf;
    const Half *row = (const Half *)part->halves.buf + chosen[place] * dimension;
    const Half *soon = (const Half *)part->halves.buf + chosen[Py_MIN(place + AHEAD, part->count - 1)] * dimension;
    Lanes chains[CHAINS] = {all(0), all(0), all(0), all(0)};
    for (Py_ssize_t start = 0; start < whole; start += step) {
        __builtin_prefetch(soon + start);
        for (int chain = 0; chain < CHAINS; chain++) {
            const Py_ssize_t from = start + chain * LANES;
            chains[chain] = multiply_add(load(work->query + from), halves(row + from), chains[chain]);
        }
    }
    float sums[CHAINS * LANES], score = 0;
    for (int chain = 0; chain < CHAINS; chain++)
        store(sums + chain * LANES, chains[chain]);
    for (int sum = 0; sum < CHAINS * LANES; sum++)
        score += sums[sum];
    for (Py_ssize_t left = whole; left < dimension; left++)
        score += work->query[left] * half(row + left);
    ((float *)part->scores.buf)[place] = ((float *)part->heads.buf)[place] = score;
}

static void *share(void *argument)
{
    Work *work = argument;
    for (;;) {
        Py_ssize_t portion = (Py_ssize_t)atomic_fetch_add(&work->next, 1);
        const Part *part = work->parts, *end = work->parts + work->count;
        while (part < end && portion >= part->portions)
            portion -= part++->portions;
        if (part == end)
            return NULL;
        const Py_ssize_t start = portion * part->at_once, stop = Py_MIN(start + part->at_once, part->count);
        for (Py_ssize_t place = start; place < stop; place++)
            part->width == 1 ? score_row(work, part, place) : score_tile(work, part, place);
    }
}

/* A thread that the system refuses is done without. */
static void share_among(Work *work, int threads)
{
    pthread_t others[MOST_THREADS];
    Py_ssize_t started = 0, portions = 0;
    for (Py_ssize_t part = 0; part < work->count; part++)
        portions += work->parts[part].portions;
    const Py_ssize_t wanted = Py_MIN(Py_MIN(threads, MOST_THREADS), portions);
    while (started < wanted - 1 && pthread_create(&others[started], NULL, share, work) == 0)
        started++;
    share(work);
    while (started > 0)
        pthread_join(others[--started], NULL);
}

/* Whether every buffer is as long as it must be, and every choice among what there is; portions it, too. */
static int fits(Part *part, Py_ssize_t dimension)
{
    const Py_ssize_t tile = dimension * part->width * (Py_ssize_t)sizeof(Half);
    part->count = part->chosen.len / (Py_ssize_t)sizeof(int64_t);
    if (tile <= 0 || part->heads.len != part->count * (Py_ssize_t)sizeof(float) ||
        part->scores.len != part->heads.len * part->width)
        return 0;
    const int64_t *chosen = part->chosen.buf, tiles = part->halves.len / tile;
    for (Py_ssize_t place = 0; place < part->count; place++)
        if (chosen[place] < 0 || chosen[place] >= tiles)
            return 0;
    part->at_once = Py_MAX(1, BYTES_AT_ONCE / tile);
    part->portions = (part->count + part->at_once - 1) / part->at_once;
    return 1;
}

static void release(Work *work)
{
    for (Py_ssize_t part = 0; part < work->count; part++) {
        PyBuffer_Release(&work->parts[part].halves);
        PyBuffer_Release(&work->parts[part].chosen);
        PyBuffer_Release(&work->parts[part].scores);
        PyBuffer_Release(&work->parts[part].heads);
    }
    PyMem_Free(work->parts);
}

/* Takes the parts over from Python, one by one; those taken are for `release`, also where one is refused. */
static int take(Work *work, PyObject *list)
{
    if (!(work->parts = PyMem_Calloc((size_t)PyList_GET_SIZE(list) + 1, sizeof(Part))))
        return PyErr_NoMemory(), 0;
    for (; work->count < PyList_GET_SIZE(list); work->count++) {
        Part *part = &work->parts[work->count];
        if (!PyArg_ParseTuple(PyList_GET_ITEM(list, work->count), "y*y*w*w*n", &part->halves, &part->chosen,
                              &part->scores, &part->heads, &part->width))
            return 0;
        if (!fits(part, work->dimension)) {
            work->count++;
            return PyErr_SetString(PyExc_ValueError, "rows, choices, query and scores do not fit together"), 0;
        }
    }
    return 1;
}

static PyObject *score(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *list;
    Py_buffer query;
    int threads;
    if (!PyArg_ParseTuple(arguments, "O!y*i:score", &PyList_Type, &list, &query, &threads))
        return NULL;
    Work work = {.query = query.buf, .dimension = query.len / (Py_ssize_t)sizeof(float)};
    const int taken = take(&work, list);
    if (taken) {
        Py_BEGIN_ALLOW_THREADS
        share_among(&work, threads);
        Py_END_ALLOW_THREADS
    }
    release(&work);
    PyBuffer_Release(&query);
    return taken ? Py_NewRef(Py_None) : NULL;
}

static int refuse_other_processors(PyObject *Py_UNUSED(module))
{
    if (processor_can())
        return 0;
    PyErr_SetString(PyExc_ImportError, "this processor has no AVX2");
    return -1;
}

static PyMethodDef functions[] = {{"score", score, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{Py_mod_exec, refuse_other_processors}, {0, NULL}};
static PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "clipcore._scan", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit__scan(void) { return PyModuleDef_Init(&module); }
