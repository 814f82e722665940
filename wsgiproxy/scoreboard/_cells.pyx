# cython: language_level=3
"""``cells.WordCells`` compiled: plain loops over the mapping, and loads and stores that keep their order."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

ctypedef long long word

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define load_word(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
    #define peek_word(place) __atomic_load_n((place), __ATOMIC_RELAXED)
    #define store_word(place, value) __atomic_store_n((place), (value), __ATOMIC_RELEASE)
    #else
    #define load_word(place) (*(volatile long long *)(place))
    #define peek_word(place) (*(volatile long long *)(place))
    #define store_word(place, value) (*(volatile long long *)(place) = (value))
    #endif
    """
    word load_word(word *place) nogil
    word peek_word(word *place) nogil  # not torn, in no order with others: for sums, of which no two belong together
    void store_word(word *place, word value) nogil


cdef class Cells:
    """See ``cells.WordCells``."""

    cdef Py_buffer view
    cdef word *words
    cdef Py_ssize_t count

    def __cinit__(self, mapping not None):
        self.words = NULL
        self.count = 0
        PyObject_GetBuffer(mapping, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.words = <word *>self.view.buf
        self.count = self.view.len // 8

    def __dealloc__(self):
        if self.words is not NULL:
            PyBuffer_Release(&self.view)

    def __len__(self):
        if self.words is NULL:
            raise ValueError("operation forbidden on released cells")
        return self.count

    def release(self):
        if self.words is not NULL:
            self.words = NULL
            self.count = 0
            PyBuffer_Release(&self.view)

    cdef word *at(self, Py_ssize_t index) except NULL:
        if not 0 <= index < self.count:
            if self.words is NULL:
                raise ValueError("operation forbidden on released cells")
            raise IndexError(index)
        return self.words + index

    cdef int check(self, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t width) except -1:
        if self.words is NULL:
            raise ValueError("operation forbidden on released cells")
        if (
            first < 0 or rows < 0 or width < 0 or stride < (1 if rows > 1 else 0)
            or (rows and (first > self.count or width > self.count - first))
            or (rows > 1 and (self.count - first - width) // stride < rows - 1)
        ):
            raise IndexError(f"{rows} rows of {width} words from {first} on, {stride} apart, in {self.count}")
        return 0

    def load(self, Py_ssize_t index):
        return load_word(self.at(index))

    def store(self, Py_ssize_t index, word value):
        store_word(self.at(index), value)

    def add(self, Py_ssize_t index, word by):
        cdef word *place = self.at(index)
        store_word(place, peek_word(place) + by)

    def clear(self, Py_ssize_t first, Py_ssize_t count):
        cdef Py_ssize_t index
        self.check(first, 0, 1, count)
        for index in range(first, first + count):
            store_word(self.words + index, 0)

    def sum_one(self, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t rows):
        cdef word total = 0
        cdef Py_ssize_t row
        self.check(first, stride, rows, 1)
        for row in range(rows):
            total += peek_word(self.words + first + stride * row)
        return total

    def sum_each(self, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t rows, slots not None, into not None):
        cdef Py_buffer which, sums
        PyObject_GetBuffer(slots, &which, PyBUF_CONTIG_RO_FORMAT)
        try:
            PyObject_GetBuffer(into, &sums, PyBUF_CONTIG_FORMAT)
            try:
                self.fill(first, stride, rows, &which, &sums)
            finally:
                PyBuffer_Release(&sums)
        finally:
            PyBuffer_Release(&which)

    cdef int fill(
        self, Py_ssize_t first, Py_ssize_t stride, Py_ssize_t rows, Py_buffer *which, Py_buffer *sums
    ) except -1:
        cdef word *slots = <word *>which.buf
        cdef word *into = <word *>sums.buf
        cdef word *start
        cdef word low, high
        cdef Py_ssize_t place, row, count = which.len // 8
        if not (is_words(which) and is_words(sums)):
            raise TypeError('slots and sums must be arrays of type "q"')
        if which.len != sums.len:
            raise ValueError("not as many sums as slots")
        self.check(first, stride, rows, 0)
        if not count:
            return 0
        low = high = slots[0]
        for place in range(1, count):
            low = min(low, slots[place])
            high = max(high, slots[place])
        if low < -first or high >= self.count:  # beyond the ends, and nothing may overflow on the way
            raise IndexError(f"slots {low} to {high}")
        self.check(first + low, stride, rows, high - low + 1)
        for place in range(count):
            into[place] = 0
        for row in range(rows):
            start = self.words + first + stride * row
            for place in range(count):
                into[place] += peek_word(start + slots[place])
        return 0


cdef enum:
    PyBUF_CONTIG_RO_FORMAT = 0x0004 | 0x0008  # PyBUF_FORMAT | PyBUF_ND
    PyBUF_CONTIG_FORMAT = 0x0001 | 0x0004 | 0x0008


cdef bint is_words(Py_buffer *view):
    return view.itemsize == 8 and view.format is not NULL and view.format[0] == c"q" and view.format[1] == 0
