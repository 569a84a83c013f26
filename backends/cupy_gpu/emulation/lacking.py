"""What NumPy has and CuPy 14.2 has not, read off both: what the emulation must refuse."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _names("""
    asmatrix block bmat busday_count busday_offset datetime_as_string datetime_data einsum_path
    errstate frompyfunc fromregex geomspace geterr histogram_bin_edges insert is_busday isnat matrix
    matvec memmap nanpercentile nanquantile ndenumerate nditer nested_iters polyder polydiv polyint
    record recarray seterr spacing unstack vecdot vecmat
""")
"""Of the namespace."""

OPTIONS = _names("initial where subok like")
"""Of functions, methods and ufuncs."""

ATTRIBUTES = _names("""
    T all any argmax argmin argpartition argsort astype base choose clip compress conj conjugate
    copy cumprod cumsum data diagonal dot fill flat flatten imag itemsize mT max mean min nbytes
    ndim nonzero partition prod ptp put ravel real repeat reshape round searchsorted shape size sort
    squeeze std strides sum swapaxes take tobytes tolist trace transpose var view
""")
"""That arrays of both have; what is written out in `array` comes to them."""

WAITING = _names("argwhere array_equal flatnonzero nonzero tobytes tolist unique")
"""Functions and methods whose results the host must know."""
