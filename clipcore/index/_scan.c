/* Dot products of many fp16 rows with one fp32 query, summed in fp32: the approximate pass of an exact search.

   Memory bandwidth is the limit. The hardware prefetches within a chunk but cannot know which chunk is next, so the
   kernel prefetches that one. Several rows at a time were not faster (benchmarks/NOTES.md). Threads live for one call;
   each takes the next portion of chunks from a shared counter, so that a thread whose core is busy takes fewer.

   Built with GNU C for x86-64 with AVX2 and for 64-bit Arm (tested in an emulator only). scan.py falls back to numpy. */

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
#define VECTORIZED __attribute__((target("avx2,fma,f16c")))
typedef uint16_t Half;
typedef __m256 Lanes;
enum { LANES = 8 };
VECTORIZED static inline Lanes load_half(const Half *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
}
VECTORIZED static inline float to_float(const Half *from) { return _cvtsh_ss(*from); }
VECTORIZED static inline Lanes load(const float *from) { return _mm256_loadu_ps(from); }
VECTORIZED static inline Lanes multiply_add(Lanes a, Lanes b, Lanes sum) { return _mm256_fmadd_ps(a, b, sum); }
static int cpu_is_supported(void)
{
    unsigned ignored, features = 0; /* not every compiler knows f16c by name */
    __get_cpuid(1, &ignored, &ignored, &features, &ignored);
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && features & bit_F16C;
}
#elif defined(__aarch64__)
#include <arm_neon.h>
#define VECTORIZED
typedef __fp16 Half;
typedef float32x4_t Lanes;
enum { LANES = 4 };
static inline Lanes load_half(const Half *from) { return vcvt_f32_f16(vld1_f16(from)); }
static inline float to_float(const Half *from) { return (float)*from; }
static inline Lanes load(const float *from) { return vld1q_f32(from); }
static inline Lanes multiply_add(Lanes a, Lanes b, Lanes sum) { return vfmaq_f32(sum, a, b); }
static int cpu_is_supported(void) { return 1; }
#else
#error "no kernel for this processor"
#endif

/* CHAINS: independent sums, so that no multiplication waits for the one before it. */
enum { MAX_THREADS = 64, CHAINS = 4, PORTION_BYTES = 1 << 20 };

typedef struct {
    Py_buffer *slabs; /* fp16 [chunks of a slab, rows of a chunk, dimension], all of one shape */
    Py_buffer chunks; /* int64 [count], numbered through all slabs */
    Py_buffer used;   /* uint8 [all chunks]: the rows of each chunk that hold a vector, from the first on */
    Py_buffer query;  /* fp32 [dimension] */
    Py_buffer scores; /* fp32 [count, rows of a chunk], written to */
    Py_ssize_t slab_count, slab_chunks, rows, dimension, count, portion;
    atomic_size_t next;
} Scan;

static const Half *chunk_rows(const Scan *scan, Py_ssize_t at)
{
    const int64_t chunk = ((const int64_t *)scan->chunks.buf)[at];
    return (const Half *)scan->slabs[chunk / scan->slab_chunks].buf +
           chunk % scan->slab_chunks * scan->rows * scan->dimension;
}

/* prefetch: what will be read later, as long as a row. */
VECTORIZED static float score_row(const Scan *scan, const Half *row, const Half *prefetch)
{
    const float *query = scan->query.buf;
    const Py_ssize_t step = CHAINS * LANES, whole = scan->dimension - scan->dimension % step;
    Lanes chains[CHAINS] = {{0}};
    for (Py_ssize_t start = 0; start < whole; start += step) {
        __builtin_prefetch(prefetch + start);
        for (int chain = 0; chain < CHAINS; chain++) {
            const Py_ssize_t from = start + chain * LANES;
            chains[chain] = multiply_add(load(query + from), load_half(row + from), chains[chain]);
        }
    }
    const Lanes sums = (chains[0] + chains[1]) + (chains[2] + chains[3]);
    float score = 0;
    for (int lane = 0; lane < LANES; lane++)
        score += sums[lane];
    for (Py_ssize_t rest = whole; rest < scan->dimension; rest++)
        score += query[rest] * to_float(row + rest);
    return score;
}

static void score_chunk(const Scan *scan, Py_ssize_t at)
{
    const Half *row = chunk_rows(scan, at), *prefetch = chunk_rows(scan, Py_MIN(at + 1, scan->count - 1));
    const Py_ssize_t used = ((const uint8_t *)scan->used.buf)[((const int64_t *)scan->chunks.buf)[at]];
    float *scores = (float *)scan->scores.buf + at * scan->rows;
    for (Py_ssize_t place = 0; place < scan->rows; place++)
        scores[place] = place < used
            ? score_row(scan, row + place * scan->dimension, prefetch + place * scan->dimension) : -INFINITY;
}

static void *score_portions(void *argument)
{
    Scan *scan = argument;
    for (;;) {
        const Py_ssize_t start = (Py_ssize_t)atomic_fetch_add(&scan->next, 1) * scan->portion;
        if (start >= scan->count)
            return NULL;
        for (Py_ssize_t at = start; at < Py_MIN(start + scan->portion, scan->count); at++)
            score_chunk(scan, at);
    }
}

/* Where the system refuses a thread, the others do its share. */
static void score_all(Scan *scan, int threads)
{
    pthread_t others[MAX_THREADS];
    const Py_ssize_t portions = (scan->count + scan->portion - 1) / scan->portion;
    const Py_ssize_t wanted = Py_MIN(Py_MIN(threads, MAX_THREADS), portions);
    Py_ssize_t started = 0;
    while (started < wanted - 1 && pthread_create(&others[started], NULL, score_portions, scan) == 0)
        started++;
    score_portions(scan);
    while (started > 0)
        pthread_join(others[--started], NULL);
}

static int refuse(const char *why)
{
    PyErr_SetString(PyExc_ValueError, why);
    return 0;
}

/* formats: the type codes that are accepted; numpy's int64 is a long or a long long. */
static int take_array(PyObject *object, Py_buffer *array, int dimensions, const char *formats, int flags)
{
    if (PyObject_GetBuffer(object, array, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags))
        return 0;
    if (array->ndim == dimensions && array->format && strlen(array->format) == 1 && strchr(formats, *array->format))
        return 1;
    PyBuffer_Release(array);
    return refuse("expected an array of another type or number of dimensions");
}

static int take_arrays(Scan *scan, PyObject *slabs, PyObject *const *arrays)
{
    for (; scan->slab_count < PyTuple_GET_SIZE(slabs); scan->slab_count++)
        if (!take_array(PyTuple_GET_ITEM(slabs, scan->slab_count), &scan->slabs[scan->slab_count], 3, "e", 0))
            return 0;
    return take_array(arrays[0], &scan->chunks, 1, sizeof(long) == sizeof(int64_t) ? "lq" : "q", 0) &&
           take_array(arrays[1], &scan->used, 1, "B", 0) && take_array(arrays[2], &scan->query, 1, "f", 0) &&
           take_array(arrays[3], &scan->scores, 2, "f", PyBUF_WRITABLE);
}

/* Nothing outside the arrays is read or written, whatever Python passes. */
static int check_shapes(Scan *scan)
{
    if (!scan->slab_count)
        return refuse("expected at least one slab");
    const Py_ssize_t *shape = scan->slabs[0].shape, slab_size = scan->slabs[0].len;
    scan->slab_chunks = shape[0], scan->rows = shape[1], scan->dimension = shape[2];
    for (Py_ssize_t slab = 1; slab < scan->slab_count; slab++)
        if (memcmp(scan->slabs[slab].shape, shape, 3 * sizeof *shape))
            return refuse("the slabs differ in shape");
    scan->count = scan->chunks.shape[0];
    scan->portion = Py_MAX(1, PORTION_BYTES * scan->slab_chunks / Py_MAX(1, slab_size));
    if (scan->query.shape[0] != scan->dimension || scan->scores.shape[0] != scan->count ||
        scan->scores.shape[1] != scan->rows || scan->used.shape[0] > scan->slab_count * scan->slab_chunks)
        return refuse("slabs, chunks, query and scores do not fit together");
    const int64_t *chunks = scan->chunks.buf;
    const uint8_t *used = scan->used.buf;
    for (Py_ssize_t at = 0; at < scan->count; at++)
        if (chunks[at] < 0 || chunks[at] >= scan->used.shape[0] || used[chunks[at]] > scan->rows)
            return refuse("a chunk does not exist, or holds fewer rows than it claims to use");
    return 1;
}

static PyObject *score(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *slabs, *arrays[4];
    int threads, fit = 0;
    Scan scan = {0};
    if (!PyArg_ParseTuple(arguments, "O!OOOOi:score", &PyTuple_Type, &slabs, &arrays[0], &arrays[1], &arrays[2],
                          &arrays[3], &threads))
        return NULL;
    if (!(scan.slabs = PyMem_Calloc((size_t)PyTuple_GET_SIZE(slabs) + 1, sizeof *scan.slabs)))
        return PyErr_NoMemory();
    if (take_arrays(&scan, slabs, arrays) && (fit = check_shapes(&scan))) {
        Py_BEGIN_ALLOW_THREADS
        score_all(&scan, threads);
        Py_END_ALLOW_THREADS
    }
    Py_buffer *taken[] = {&scan.chunks, &scan.used, &scan.query, &scan.scores}; /* zero where none was taken */
    for (int array = 0; array < 4; array++)
        PyBuffer_Release(taken[array]);
    while (scan.slab_count > 0)
        PyBuffer_Release(&scan.slabs[--scan.slab_count]);
    PyMem_Free(scan.slabs);
    return fit ? Py_NewRef(Py_None) : NULL;
}

static int check_cpu(PyObject *module)
{
    if (!cpu_is_supported()) {
        PyErr_SetString(PyExc_ImportError, "this processor lacks AVX2, FMA or F16C");
        return -1;
    }
    return PyModule_AddIntConstant(module, "MAX_THREADS", MAX_THREADS);
}

static PyMethodDef functions[] = {{"score", score, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, check_cpu},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "clipcore.index._scan", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit__scan(void) { return PyModuleDef_Init(&module); }
