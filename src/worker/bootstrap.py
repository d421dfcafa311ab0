"""What a Python operator is run by, in a process of its own.

The judge asks over a socket, in packets of JSON with files beside them; one answer follows each request. The files are
memory: A and V can be read, Y can be written. The module under test has `build(a)`, which returns any state, and
`apply(state, v, out)`, which writes all of `out`; `close(state)` where it wants one. Matrices are row-major, of float32,
bfloat16 or float16. On a CUDA device they lie in memory of another process, which the driver opens here.
"""

import ctypes
import importlib.util
import json
import mmap
import os
import socket
import sys
import traceback

PAGE = 1024  # Elements of a guard band: before each output and after the last.
MESSAGE_MAX = 64 << 10


class _Buffer(ctypes.Structure):
    """Python's own description of a buffer (`Py_buffer`)."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


class _Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("id", ctypes.c_int32)]


class _Dtype(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _DlTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Dtype),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    """DLPack's `DLManagedTensor`."""


_DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _DlTensor), ("context", ctypes.c_void_p), ("deleter", _DELETER)]

_handed_out = {}


@_DELETER
def _delete(managed):
    _handed_out.pop(ctypes.addressof(managed.contents), None)


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def _address(memory):
    """The address of a buffer, which may be read-only."""
    view = _Buffer()
    get = ctypes.pythonapi.PyObject_GetBuffer
    get.argtypes = [ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int]
    get(memory, ctypes.byref(view), 0)
    address = view.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
    return address


# Of each dtype: its name, bytes of an element, the code of its kind in DLPack, the letter of a memoryview (which knows no
# halves: bits then) and NumPy's name (which knows no bfloat16: two bytes then).
_DTYPES = {
    "f32": ("float32", 4, 2, "f", "<f4"),
    "f16": ("float16", 2, 2, "H", "<f2"),
    "bf16": ("bfloat16", 2, 4, "H", "|V2"),
}


def _capsule(matrix, data, device):
    """A matrix as DLPack hands it over."""
    sizes = ctypes.c_int64 * 2
    shape, strides = sizes(*matrix.shape), sizes(matrix.shape[1], 1)
    dtype = _Dtype(matrix._code, 8 * matrix._size, 1)
    tensor = _DlTensor(data, device, 2, dtype, shape, strides, 0)
    managed = _Managed(tensor, None, _delete)
    at = ctypes.addressof(managed)
    _handed_out[at] = (managed, shape, strides, matrix)
    return _new_capsule(at, b"dltensor", None)


class Tensor:
    """A matrix in memory that the judge shares: `np.asarray(t)`, `np.from_dlpack(t)`, `torch.from_dlpack(t)` and
    `memoryview` of `t.memory` use it in place. `shape` is (rows, columns); `dtype` is float32, float16 or bfloat16.
    `t.memory` has the bits of elements of two bytes, and so has `np.asarray(t).view(np.uint16)`: of bfloat16, which NumPy
    does not know, that is all there is."""

    def __init__(self, memory, shape, readonly, dtype):
        self.dtype, self._size, self._code, letter, self._name = _DTYPES[dtype]
        self.memory = memory.cast("B").cast(letter, shape)
        self.shape = shape
        self.readonly = readonly
        self._at = _address(memory) if memory.nbytes else 0

    @property
    def __array_interface__(self):
        data = (self._at, self.readonly)
        return {"version": 3, "shape": self.shape, "typestr": self._name, "data": data}

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **_wishes):
        return _capsule(self, self._at, _Device(1, 0))


class _Float32(Tensor):
    """One whose elements a buffer can describe."""

    def __buffer__(self, _flags):
        return self.memory


class CudaTensor:
    """A matrix in the memory of the CUDA device 0: `torch.from_dlpack(t)`, `cupy.from_dlpack(t)`, `cupy.asarray(t)` and
    `torch.as_tensor(t)` use it in place, `t.pointer` is its address. `shape` is (rows, columns); `dtype` is float32, float16
    or bfloat16. `__cuda_array_interface__` has no name for bfloat16: two bytes then."""

    def __init__(self, pointer, shape, readonly, dtype):
        self.dtype, self._size, self._code, _letter, self._name = _DTYPES[dtype]
        self.pointer = pointer
        self.shape = shape
        self.readonly = readonly

    @property
    def __cuda_array_interface__(self):
        # A and V may be written as far as consumers can tell: some refuse read-only memory.
        data = (self.pointer, False)
        of = {"version": 3, "shape": self.shape, "typestr": self._name, "data": data}
        return {**of, "strides": None, "stream": None}

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **_wishes):
        # Everything before was waited for, whatever stream is named.
        return _capsule(self, self.pointer, _Device(2, 0))


def _tensor(memory, shape, readonly, dtype):
    return (_Float32 if dtype == "f32" else Tensor)(memory, shape, readonly, dtype)


class _IpcHandle(ctypes.Structure):
    """The driver's `CUipcMemHandle`."""

    _fields_ = [("bytes", ctypes.c_char * 64)]


class Cuda:
    """The driver of the device 0, the only one that this process sees, with the context that libraries share."""

    def __init__(self):
        self._driver = ctypes.CDLL("libcuda.so.1")
        device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self._call("cuCtxSetCurrent", self._context)
        self._opened = {}

    def _call(self, name, *arguments):
        code = getattr(self._driver, name)(*arguments)
        if code != 0:
            words = ctypes.c_char_p()
            self._driver.cuGetErrorString(code, ctypes.byref(words))
            raise OSError(f"{name}: {(words.value or b'unknown').decode()} ({code})")

    def open(self, handle):
        """The address of another process's memory."""
        if handle not in self._opened:
            opened = ctypes.c_uint64()
            of = _IpcHandle.from_buffer_copy(bytes.fromhex(handle))
            self._call("cuIpcOpenMemHandle_v2", ctypes.byref(opened), of, 1)
            self._opened[handle] = opened.value
        return self._opened[handle]

    def finish(self):
        """Returns once the device has done all that this process gave it, on any stream."""
        self._call("cuCtxSetCurrent", self._context)
        self._call("cuCtxSynchronize")


class OnCuda:
    """The matrices of a case in the memory of a device."""

    def __init__(self, load, cuda):
        m, k, n, slots = load["m"], load["k"], load["n"], load["slots"]
        lent = load["device"]
        places = lent["places"]
        a, v, y = (cuda.open(h) for h in (lent["a"], lent["slots"]["v"], lent["slots"]["y"]))
        dtype, output = load["input"], load["output"]
        y += places["y_first"]
        self.a = CudaTensor(a, (m, k), True, dtype)
        self.v = [CudaTensor(v + i * places["v_apart"], (k, n), True, dtype) for i in range(slots)]
        self.y = [CudaTensor(y + i * places["y_apart"], (m, n), False, output) for i in range(slots)]
        self.built = {}
        self.finish = cuda.finish


class Case:
    """The matrices of a case."""

    def __init__(self, load, files):
        m, k, n, slots = load["m"], load["k"], load["n"], load["slots"]
        a, v, y = files
        dtype, output = load["input"], load["output"]
        size, y_size = _DTYPES[dtype][1], _DTYPES[output][1]
        stride = -(-(m * n) // PAGE) * PAGE + PAGE
        self.maps = [
            mmap.mmap(a, size * m * k, prot=mmap.PROT_READ),
            mmap.mmap(v, size * slots * k * n, prot=mmap.PROT_READ),
            mmap.mmap(y, y_size * (slots * stride + PAGE)),
        ]
        for file in files:
            os.close(file)
        a, v, y = map(memoryview, self.maps)

        def inputs(memory, first, shape):
            first, len = size * first, size * shape[0] * shape[1]
            return _tensor(memory[first : first + len], shape, True, dtype)

        def output_of(slot):
            first, len = y_size * (slot * stride + PAGE), y_size * m * n
            return _tensor(y[first : first + len], (m, n), False, output)

        self.a = inputs(a, 0, (m, k))
        self.v = [inputs(v, slot * k * n, (k, n)) for slot in range(slots)]
        self.y = [output_of(slot) for slot in range(slots)]
        self.built = {}

    def finish(self):
        """What was done is done."""


def _words(error):
    """What was raised, and where; also of an error that cannot say it itself."""
    try:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f" ({os.path.basename(last.filename)}:{last.lineno})"
        return f"{type(error).__name__}: {error}{where}"[:2000]
    except Exception:
        return type(error).__name__[:200]


def _lock(program):
    """No new process from here on: the kernel's filter, for all threads."""
    if not program:
        return

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    call = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
    described = Program(len(program) // 8, program)
    libc = ctypes.CDLL(None, use_errno=True)
    # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC.
    if libc.syscall(call, 1, 1, ctypes.byref(described)) != 0:
        raise OSError(ctypes.get_errno(), "the filter of system calls")


def _serve(channel, lock, module):
    receive, send, case, locked, cuda = socket.recv_fds, channel.sendall, None, False, None
    done = b'{"done":{"changes":0}}'
    while True:
        packet, files, _flags, _address = receive(channel, MESSAGE_MAX, 4)
        if not packet:
            os._exit(0)
        try:
            ((asked, with_),) = json.loads(packet).items()
            if asked == "run":
                if not locked:
                    _lock(lock)
                    locked = True
                state, v, y, apply = case.built[with_["id"]], case.v, case.y, module.apply
                for slot in with_["slots"]:
                    apply(state, v[slot], y[slot])
                case.finish()
            elif asked == "load" and with_["device"] is not None:
                cuda = cuda or Cuda()
                case = OnCuda(with_, cuda)
            elif asked == "load":
                case = Case(with_, files)
            elif asked == "build":
                state = module.build(case.a)
                case.finish()
                case.built[with_["id"]] = state
                send(b'{"built":{"plan":"python: a module under test","bytes_held":0}}')
                continue
            elif asked == "drop":
                state = case.built.pop(with_["id"], None)
                close = getattr(module, "close", None)
                if close is not None:
                    close(state)
                state = None
            elif asked != "nothing":
                raise ValueError(asked)
            send(done)
        except Exception as error:  # What an operator raises is said, and the process goes on.
            send(json.dumps({"failed": {"reason": _words(error), "refused": False}}).encode())


def _main():
    number, entry, lock = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
    channel = socket.socket(fileno=number)
    folder = os.path.dirname(entry)
    # Last: a file named like an installed package must not stand for it.
    sys.path.append(folder)
    sys.argv = [entry]
    try:
        name = "operator_under_test"
        spec = importlib.util.spec_from_file_location(name, entry)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        lacking = [name for name in ("build", "apply") if not callable(getattr(module, name, None))]
        if lacking:
            raise AttributeError(f"the module has no function `{lacking[0]}`")
    except Exception as error:
        channel.sendall(json.dumps({"failed": {"reason": _words(error), "refused": True}}).encode())
        os._exit(1)
    rival = {"name": "operator", "kind": "sparse", "library": sys.version.split()[0], "version": ""}
    channel.sendall(json.dumps({"opened": {"rivals": [rival], "missing": []}}).encode())
    _serve(channel, lock, module)


_main()
