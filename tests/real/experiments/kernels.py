"""The same programs in C and in WebAssembly: small loops that differ in what they do most."""

from __future__ import annotations

from typing import NamedTuple


class Kernel(NamedTuple):
    """`c` is the body of a function of n, `helpers` stand before it; `wat` a module that exports "run" of n. Both give the same number."""

    name: str
    c: str
    wat: str
    helpers: str = ""


def _loop(body: str, result: str, variables: str, before: str = "", memory: str = "(memory 4)", functions: str = "") -> str:
    """n rounds of `body`."""
    return f"""(module {memory} {functions}
(func (export "run") (param $n i32) (result i32) {variables}
  {before}
  (loop $again {body}
    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  {result}))"""


# Numbers of a generator, in both.
_MIX = "(local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1664525)) (i32.const 1013904223)))"

KERNELS = (
    Kernel(
        "bytes hashed",
        "uint32_t h = 0; do { for (uint32_t i = 0; i < 4096; i++) h = (h ^ memory[i]) * 16777619u; } while (--n); return h;",
        _loop(
            """(local.set $i (i32.const 0))
    (loop $byte
      (local.set $h (i32.mul (i32.xor (local.get $h) (i32.load8_u (local.get $i))) (i32.const 16777619)))
      (br_if $byte (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4096))))""",
            "(local.get $h)",
            "(local $i i32) (local $h i32)",
        ),
    ),
    Kernel(
        "sieve",
        """do { for (uint32_t i = 2; i < 256; i++) for (uint32_t j = i * i; j < 65536; j += i) memory[j] = 1; } while (--n);
  return memory[65535];""",
        _loop(
            """(local.set $i (i32.const 2))
    (loop $prime
      (local.set $j (i32.mul (local.get $i) (local.get $i)))
      (loop $multiple
        (i32.store8 (local.get $j) (i32.const 1))
        (br_if $multiple (i32.lt_u (local.tee $j (i32.add (local.get $j) (local.get $i))) (i32.const 65536))))
      (br_if $prime (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 256))))""",
            "(i32.load8_u (i32.const 65535))",
            "(local $i i32) (local $j i32)",
        ),
    ),
    Kernel(
        "64-bit mixing",
        """uint64_t x = 88172645463325252ull;
  do { for (int i = 0; i < 1000; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; x *= 0x9E3779B97F4A7C15ull; } } while (--n);
  return (uint32_t)x;""",
        _loop(
            """(local.set $i (i32.const 1000))
    (loop $mix
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (local.set $x (i64.mul (local.get $x) (i64.const 0x9E3779B97F4A7C15)))
      (br_if $mix (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))""",
            "(i32.wrap_i64 (local.get $x))",
            "(local $i i32) (local $x i64)",
            "(local.set $x (i64.const 88172645463325252))",
        ),
    ),
    Kernel(
        "matrices",
        """double *a = (double *)memory, *b = a + 1024, *c = b + 1024;
  do for (int i = 0; i < 32; i++) for (int j = 0; j < 32; j++) {
    double s = 0; for (int k = 0; k < 32; k++) s += a[i * 32 + k] * b[k * 32 + j]; c[i * 32 + j] = s + 1; } while (--n);
  return (uint32_t)c[1023];""",
        _loop(
            """(local.set $i (i32.const 0))
    (loop $row (local.set $j (i32.const 0))
      (loop $column
        (local.set $s (f64.const 0)) (local.set $k (i32.const 0))
        (local.set $p (i32.shl (local.get $i) (i32.const 8))) (local.set $q (i32.shl (local.get $j) (i32.const 3)))
        (loop $sum
          (local.set $s (f64.add (local.get $s) (f64.mul (f64.load (local.get $p)) (f64.load offset=8192 (local.get $q)))))
          (local.set $p (i32.add (local.get $p) (i32.const 8))) (local.set $q (i32.add (local.get $q) (i32.const 256)))
          (br_if $sum (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 32))))
        (f64.store offset=16384 (i32.add (i32.shl (local.get $i) (i32.const 8)) (i32.shl (local.get $j) (i32.const 3)))
          (f64.add (local.get $s) (f64.const 1)))
        (br_if $column (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 32))))
      (br_if $row (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 32))))""",
            "(i32.trunc_sat_f64_u (f64.load offset=16384 (i32.const 8184)))",
            "(local $i i32) (local $j i32) (local $k i32) (local $p i32) (local $q i32) (local $s f64)",
        ),
    ),
    Kernel(
        "sorted by insertion",
        """uint32_t *a = (uint32_t *)memory, x = 1;
  do {
    for (int i = 0; i < 128; i++) { x = x * 1664525u + 1013904223u; a[i] = x; }
    for (int i = 1; i < 128; i++) {
      uint32_t v = a[i]; int j = i;
      while (j > 0 && a[j - 1] > v) { a[j] = a[j - 1]; j--; }
      a[j] = v; }
  } while (--n); return a[64];""",
        _loop(
            f"""(local.set $i (i32.const 0))
    (loop $fill {_MIX} (i32.store (local.get $i) (local.get $x))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 512))))
    (local.set $i (i32.const 4))
    (loop $next
      (local.set $v (i32.load (local.get $i))) (local.set $j (local.get $i))
      (block $done (loop $shift
        (br_if $done (i32.eqz (local.get $j)))
        (local.set $w (i32.load (i32.sub (local.get $j) (i32.const 4))))
        (br_if $done (i32.le_u (local.get $w) (local.get $v)))
        (i32.store (local.get $j) (local.get $w))
        (local.set $j (i32.sub (local.get $j) (i32.const 4)))
        (br $shift)))
      (i32.store (local.get $j) (local.get $v))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 512))))""",
            "(i32.load (i32.const 256))",
            "(local $i i32) (local $j i32) (local $x i32) (local $v i32) (local $w i32)",
            "(local.set $x (i32.const 1))",
        ),
    ),
    Kernel(
        "pointers followed",
        """uint32_t *a = (uint32_t *)memory;
  for (uint32_t i = 0; i < 4096; i++) a[i] = (i * 1021 + 7) & 4095;
  uint32_t at = 0; do { for (int i = 0; i < 1000; i++) at = a[at]; } while (--n); return at;""",
        _loop(
            """(local.set $i (i32.const 1000))
    (loop $follow (local.set $at (i32.load (i32.shl (local.get $at) (i32.const 2))))
      (br_if $follow (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))""",
            "(local.get $at)",
            "(local $i i32) (local $at i32)",
            """(loop $fill
    (i32.store (i32.shl (local.get $i) (i32.const 2))
      (i32.and (i32.add (i32.mul (local.get $i) (i32.const 1021)) (i32.const 7)) (i32.const 4095)))
    (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4096))))""",
        ),
    ),
    Kernel(
        "small functions",
        "uint32_t x = 1; do { for (int i = 0; i < 1000; i++) x = small(x, i); } while (--n); return x;",
        _loop(
            """(local.set $i (i32.const 0))
    (loop $call (local.set $x (call $small (local.get $x) (local.get $i)))
      (br_if $call (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))""",
            "(local.get $x)",
            "(local $i i32) (local $x i32)",
            "(local.set $x (i32.const 1))",
            functions="""(func $small (param $x i32) (param $i i32) (result i32)
  (i32.add (i32.mul (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 15))) (i32.const 739982445)) (local.get $i)))""",
        ),
        "static __attribute__((noinline, noclone)) uint32_t small(uint32_t x, uint32_t i) { return (x ^ x >> 15) * 739982445u + i; }",
    ),
    # So many kinds of instructions that both compilers make a table of jumps.
    Kernel(
        "an interpreter",
        """uint8_t *code = memory; uint32_t x = 1, y = 2, s = 1;
  for (uint32_t i = 0; i < 1024; i++) { s = s * 1664525u + 1013904223u; code[i] = s >> 29; }
  do for (uint32_t pc = 0; pc < 1024; pc++) switch (code[pc]) {
    case 0: x += y; break; case 1: y ^= x << 3; break; case 2: x = x * 5 + 1; break; case 3: y -= x; break;
    case 4: x ^= y >> 5; break; case 5: y += x * 3; break; case 6: x = ~x; break; default: y = y << 7 | y >> 25; } while (--n);
  return x ^ y;""",
        _loop(
            """(local.set $i (i32.const 0))
    (loop $step
      (block $next (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
        (br_table $0 $1 $2 $3 $4 $5 $6 $7 (i32.load8_u (local.get $i))))
        (local.set $x (i32.add (local.get $x) (local.get $y))) (br $next))
        (local.set $y (i32.xor (local.get $y) (i32.shl (local.get $x) (i32.const 3)))) (br $next))
        (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 5)) (i32.const 1))) (br $next))
        (local.set $y (i32.sub (local.get $y) (local.get $x))) (br $next))
        (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $y) (i32.const 5)))) (br $next))
        (local.set $y (i32.add (local.get $y) (i32.mul (local.get $x) (i32.const 3)))) (br $next))
        (local.set $x (i32.xor (local.get $x) (i32.const -1))) (br $next))
        (local.set $y (i32.rotl (local.get $y) (i32.const 7))))
      (br_if $step (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1024))))""",
            "(i32.xor (local.get $x) (local.get $y))",
            "(local $i i32) (local $x i32) (local $y i32) (local $s i32)",
            """(local.set $s (i32.const 1))
  (loop $fill
    (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 1664525)) (i32.const 1013904223)))
    (i32.store8 (local.get $i) (i32.shr_u (local.get $s) (i32.const 29)))
    (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1024))))
  (local.set $x (i32.const 1)) (local.set $y (i32.const 2))""",
        ),
    ),
)
