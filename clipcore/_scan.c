/* Products of many fp16 rows with one fp32 query, summed in fp32: what an exact search does first.

   Reading the rows is what takes the time, so a tile is read once and in order, as the processor foresees it: the
   numbers of one dimension after the other are converted, weighted and added to the scores of all the tile's rows.
   Wider registers, and prefetching within a tile, were no quicker or slower (benchmarks/NOTES.md).

   Threads live as long as a call, and each takes the next few tiles as soon as it is done with its last: where
   something else computes on a core, the other threads do that one's share.

   Built where a compiler for GNU C is at hand, for x86-64 with AVX2 and for 64-bit Arm (tried in an emulator alone);
   `vector_scores` has slower ways for everything else. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define VECTORISED __attribute__((target("avx2,fma,f16c")))
typedef uint16_t Half;
typedef __m256 Lanes;
enum { LANES = 8 };
VECTORISED static inline Lanes halves(const Half *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
}
VECTORISED static inline float half(const Half *from) { return _cvtsh_ss(*from); }
VECTORISED static inline Lanes load(const float *from) { return _mm256_loadu_ps(from); }
VECTORISED static inline void store(float *to, Lanes lanes) { _mm256_storeu_ps(to, lanes); }
VECTORISED static inline Lanes all(float number) { return _mm256_set1_ps(number); }
VECTORISED static inline Lanes multiply_add(Lanes a, Lanes b, Lanes sum) { return _mm256_fmadd_ps(a, b, sum); }
static int processor_can(void)
{
    unsigned ignored, features = 0; /* not every compiler knows the name f16c */
    __get_cpuid(1, &ignored, &ignored, &features, &ignored);
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && features & bit_F16C;
}
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

/* INTERFACE: raised with every change of what Python calls, since an older build may lie where a newer one failed. */
enum { INTERFACE = 1, USUAL_WIDTH = 128, MOST_THREADS = 64, CHAINS = 4, AHEAD = 4, BYTES_AT_ONCE = 1 << 20 };

typedef struct {
    Py_buffer slab;   /* fp16 [tiles, dimensions, width] */
    Py_buffer chosen; /* int64 [count], tiles */
    Py_buffer scores; /* fp32 [count, width] */
    Py_buffer heads;  /* fp32 [count], the best of each tile */
    Py_ssize_t width, count, at_once, portions;
} Part;

typedef struct {
    Part *parts;
    Py_ssize_t count, dimensions;
    const float *query;
    atomic_size_t next;
} Work;

/* The scores of so many vectors of a tile's columns. Their number must be known to the compiler, which then keeps them
   in registers. */
VECTORISED static inline __attribute__((always_inline)) void
score_columns(const Work *work, const Half *columns, Py_ssize_t width, float *scores, const int vectors)
{
    Lanes sums[USUAL_WIDTH / LANES];
#pragma GCC unroll 32
    for (int vector = 0; vector < vectors; vector++)
        sums[vector] = all(0);
    for (Py_ssize_t at = 0; at < work->dimensions; at++, columns += width) {
        const Lanes weights = all(work->query[at]);
#pragma GCC unroll 32
        for (int vector = 0; vector < vectors; vector++)
            sums[vector] = multiply_add(weights, halves(columns + vector * LANES), sums[vector]);
    }
#pragma GCC unroll 32
    for (int vector = 0; vector < vectors; vector++)
        store(scores + vector * LANES, sums[vector]);
}

/* The scores of the place-th chosen tile, and the best of them. */
VECTORISED static void score_tile(const Work *work, const Part *part, Py_ssize_t place)
{
    const Py_ssize_t width = part->width, tile = work->dimensions * width;
    const Half *columns = (const Half *)part->slab.buf + ((int64_t *)part->chosen.buf)[place] * tile;
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
        for (Py_ssize_t at = 0; at < work->dimensions; at++)
            scores[done] += work->query[at] * half(columns + at * width + done);
    }
    for (Py_ssize_t row = 0; row < width; row++)
        best = scores[row] > best ? scores[row] : best;
    ((float *)part->heads.buf)[place] = best;
}

/* The same of a tile of one row, whose dimensions lie one after the other: in chains that need not wait for each other.
   Which row comes next the processor cannot foresee, so it is told of a later one, piece by piece. */
VECTORISED static void score_row(const Work *work, const Part *part, Py_ssize_t place)
{
    const Py_ssize_t dimensions = work->dimensions, step = CHAINS * LANES, whole = dimensions - dimensions % step;
    const int64_t *chosen = part->chosen.buf;
    const Half *row = (const Half *)part->slab.buf + chosen[place] * dimensions;
    const Half *later = (const Half *)part->slab.buf + chosen[Py_MIN(place + AHEAD, part->count - 1)] * dimensions;
    Lanes chains[CHAINS] = {all(0), all(0), all(0), all(0)};
    for (Py_ssize_t start = 0; start < whole; start += step) {
        __builtin_prefetch(later + start);
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
    for (Py_ssize_t left = whole; left < dimensions; left++)
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

/* What Python's arrays call an int64: a long, where that has as many bits, or a long long. */
static const char *const INT64 = sizeof(long) == sizeof(int64_t) ? "lq" : "q";

static int refused(PyObject *kind, const char *why)
{
    PyErr_SetString(kind, why);
    return 0;
}

/* A contiguous array of so many dimensions whose items are of one of these types, to be released; an error if not. */
static int take_array(PyObject *object, Py_buffer *array, int dimensions, const char *items, int flags)
{
    if (PyObject_GetBuffer(object, array, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags))
        return 0;
    if (array->ndim == dimensions && array->format && strlen(array->format) == 1 && strchr(items, *array->format))
        return 1;
    PyBuffer_Release(array);
    return refused(PyExc_ValueError, "an array of another type or shape was expected");
}

/* Whether the shapes belong to each other and every choice is among what there is. */
static int fits(const Part *part, Py_ssize_t dimensions)
{
    const Py_ssize_t *slab = part->slab.shape, *scores = part->scores.shape;
    if (slab[1] != dimensions || scores[0] != part->count || scores[1] != part->width ||
        part->heads.shape[0] != part->count)
        return refused(PyExc_ValueError, "rows, choices, query and scores do not fit together");
    for (Py_ssize_t place = 0; place < part->count; place++)
        if (((int64_t *)part->chosen.buf)[place] < 0 || ((int64_t *)part->chosen.buf)[place] >= slab[0])
            return refused(PyExc_ValueError, "a choice is not among the tiles");
    return 1;
}

/* Those of its arrays that were taken are released with the part, also where it is refused. */
static int take_part(PyObject *item, Part *part, Py_ssize_t dimensions)
{
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 4)
        return refused(PyExc_TypeError, "a part is a tuple of four arrays");
    if (!take_array(PyTuple_GET_ITEM(item, 0), &part->slab, 3, "e", PyBUF_SIMPLE) ||
        !take_array(PyTuple_GET_ITEM(item, 1), &part->chosen, 1, INT64, PyBUF_SIMPLE) ||
        !take_array(PyTuple_GET_ITEM(item, 2), &part->scores, 2, "f", PyBUF_WRITABLE) ||
        !take_array(PyTuple_GET_ITEM(item, 3), &part->heads, 1, "f", PyBUF_WRITABLE))
        return 0;
    part->count = part->chosen.shape[0];
    part->width = part->slab.shape[2];
    if (!fits(part, dimensions))
        return 0;
    part->at_once = Py_MAX(1, BYTES_AT_ONCE / Py_MAX(1, dimensions * part->width * (Py_ssize_t)sizeof(Half)));
    part->portions = part->width ? (part->count + part->at_once - 1) / part->at_once : 0;
    return 1;
}

/* Releasing what was never taken does nothing: all was zero. */
static void release(Work *work)
{
    for (Py_ssize_t part = 0; part < work->count; part++) {
        PyBuffer_Release(&work->parts[part].slab);
        PyBuffer_Release(&work->parts[part].chosen);
        PyBuffer_Release(&work->parts[part].scores);
        PyBuffer_Release(&work->parts[part].heads);
    }
    PyMem_Free(work->parts);
}

static int take_parts(Work *work, PyObject *parts)
{
    if (!(work->parts = PyMem_Calloc((size_t)PyTuple_GET_SIZE(parts) + 1, sizeof(Part))))
        return PyErr_NoMemory(), 0;
    while (work->count < PyTuple_GET_SIZE(parts)) {
        const Py_ssize_t part = work->count++;
        if (!take_part(PyTuple_GET_ITEM(parts, part), &work->parts[part], work->dimensions))
            return 0;
    }
    return 1;
}

static PyObject *score(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *parts, *object;
    Py_buffer query;
    int threads;
    if (!PyArg_ParseTuple(arguments, "O!Oi:score", &PyTuple_Type, &parts, &object, &threads) ||
        !take_array(object, &query, 1, "f", PyBUF_SIMPLE))
        return NULL;
    Work work = {.query = query.buf, .dimensions = query.shape[0]};
    const int taken = take_parts(&work, parts);
    if (taken) {
        Py_BEGIN_ALLOW_THREADS
        share_among(&work, threads);
        Py_END_ALLOW_THREADS
    }
    release(&work);
    PyBuffer_Release(&query);
    return taken ? Py_NewRef(Py_None) : NULL;
}

static int begin(PyObject *module)
{
    if (!processor_can()) {
        PyErr_SetString(PyExc_ImportError, "this processor lacks AVX2, FMA or F16C");
        return -1;
    }
    return PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) ||
           PyModule_AddIntConstant(module, "MOST_THREADS", MOST_THREADS);
}

static PyMethodDef functions[] = {{"score", score, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, begin},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "clipcore._scan", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit__scan(void) { return PyModuleDef_Init(&module); }
