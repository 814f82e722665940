cimport cython

from wsgiproxy.http1.message cimport RequestHead
from wsgiproxy.proxy.exchange cimport Exchange


cpdef str combined_line(Exchange exchange)
cdef double _first_byte(Exchange exchange)
@cython.locals(milliseconds=cython.longlong)
cdef str _seconds(double duration)
cdef str _word(text)
