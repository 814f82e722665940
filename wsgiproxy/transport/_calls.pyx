# cython: language_level=3
"""``calls`` compiled: less of the socket module's own work, which an exchange of a few hundred bytes can tell.

Neither call lets go of the interpreter, for neither waits: the descriptors are non-blocking.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.errno cimport EAGAIN, EINTR, EINVAL, errno


cdef extern from "<sys/socket.h>":
    enum: MSG_NOSIGNAL
    ssize_t c_recv "recv" (int fd, void *data, size_t size, int flags)
    ssize_t c_send "send" (int fd, const void *data, size_t size, int flags)

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *data, Py_ssize_t size) except NULL
    char *PyBytes_AS_STRING(PyObject *data)
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1

cdef enum:
    ROOM = 65536  # bytes that are received here and copied; more go straight into what is returned

cdef char room[ROOM]


cdef Py_ssize_t call_recv(int fd, void *place, Py_ssize_t size) except -2:
    """How many bytes came; -1 for none yet."""
    cdef Py_ssize_t got
    while True:
        got = c_recv(fd, place, size, 0)
        if got >= 0:
            return got
        if errno == EAGAIN:
            return -1
        if errno != EINTR:
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()


def receive(int fd, Py_ssize_t size):
    """See ``calls.receive``."""
    cdef Py_ssize_t got
    cdef PyObject *piece
    if size < 0:  # to recv it would be more than any room has
        raise OSError(EINVAL, "a negative size")
    if size <= ROOM:
        got = call_recv(fd, room, size)
        return None if got < 0 else PyBytes_FromStringAndSize(room, got)
    piece = new_bytes(NULL, size)
    try:
        got = call_recv(fd, PyBytes_AS_STRING(piece), size)
    except BaseException:
        Py_DECREF(<object>piece)
        raise
    if got < 0:
        Py_DECREF(<object>piece)
        return None
    _PyBytes_Resize(&piece, got)
    result = <object>piece
    Py_DECREF(result)
    return result


def send(int fd, data not None):
    """See ``calls.send``."""
    cdef Py_buffer view
    cdef Py_ssize_t sent
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        while True:
            sent = c_send(fd, view.buf, view.len, MSG_NOSIGNAL)
            if sent >= 0:
                return sent
            if errno == EAGAIN:
                return None
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&view)
