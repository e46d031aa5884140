"""What Cortex-A53 and Cortex-A55 do with each instruction: a table of A64 mnemonics, and the units they go to.

A row of `TABLE` has these columns:

    mnemonic
    operands  classes of the registers outside of brackets, as far as they tell rows apart: q (128-bit vector), d
              (vector of 64 bits or less), v (either), l (lane), x (general), - (whatever they are)
    unit      where it goes, a row of `UNITS`
    how       what it does beside writing its first register: "acc" adds to it, "addend" adds to its last one, "merge"
              reads it as well, "part" keeps a part of it without waiting for it, "load" writes all registers in front
              of the brackets, "store" and "jump" write none, "flags" writes flags too, "compare" flags alone, "if"
              reads flags; "-" nothing
    A53       cycles that it issues for, then cycles until its result is there: "8:4" is 8, and 4 for the accumulator
              of the next multiply-add; n is the number of vectors in its list, i the place of a result in the list
    A55       the same
    sources   of A53's figures and of A55's, letters of `SOURCES`
"""

from __future__ import annotations

SOURCES = {
    "q": "measured on a Cortex-A53: github.com/daniestevez/qsdr, qsdr-benchmarks/tests/instruction_benchmark",
    "i": "measured on a Raspberry Pi 3: github.com/ocxtal/insn_bench_aarch64, results",
    "s": "tests and guide of Cortex-A55 by slothy: github.com/slothy-optimizer/slothy, targets/aarch64/cortex_a55.py",
    "n": "comments of hand-written kernels: ncnn, docs/developer-guide/arm-a53-a55-dual-issue.md; gemmlowp, "
    "standalone/neon-gemm-kernel-benchmark.cc; ruy, ruy/tune.h (revision 0 of Cortex-A55 pairs as Cortex-A53)",
    "t": "Cortex-A55 Technical Reference Manual, Arm 100442, section A6.1: 64 bits read, 128 bits written per cycle",
    "c": "measured as operations per cycle: github.com/pigirons/cpufp, benchmark_result/arm64",
    "l": "LLVM's scheduling model of the core",
    "r": "inferred from rows beside it",
    "-": "assumed",
}

# 64-bit vector pipes of Cortex-A53, of Cortex-A55 r0 and r1 ("w": 2 for a first operand of 128 bits, else 1), of which
# a core has two; then what is taken of one load/store unit, two ALUs, one multiplier, one branch; then whether
# nothing else issues in its cycle.  Sources: q, n (ld1 of a lane with ins, ldr d with fmla), t.
UNITS = """
vector     w w w  - 0
multiply   w w w  - 0
wide       2 2 2  - 0
ins        1 1 0  - 0
umov       1 1 1  - 0
divide     w w w  - 0
load_x     0 0 0  m 0
load_2x    0 0 0  m 1
load_d     1 1 0  m 0
load_2d    1 1 1  m 1
load_q     2 2 2  m 1
load_lane  2 2 2  m 0
store_x    0 0 0  m 0
store_v    2 0 0  m 0
alu        0 0 0  a 0
integer    0 0 0  i 0
quotient   0 0 0  i 0
branch     0 0 0  b 0
none       0 0 0  - 0
"""

TABLE = """
fmla      v    multiply  acc      1 8:4   1 4:4    i s
fmls      v    multiply  acc      1 8:4   1 4:4    i s
fmadd     -    multiply  addend   1 8:4   1 4:4    r s
fmsub     -    multiply  addend   1 8:4   1 4:4    r s
fnmadd    -    multiply  addend   1 8:4   1 4:4    r s
fnmsub    -    multiply  addend   1 8:4   1 4:4    r s
fmul      v    vector    -        1 4     1 4      q s
fnmul     v    vector    -        1 4     1 4      r s
fmulx     v    vector    -        1 4     1 4      r s
fadd      v    vector    -        1 4     1 4      q s
fsub      v    vector    -        1 4     1 4      r s
fabd      v    vector    -        1 4     1 4      r s
faddp     v    vector    -        1 4     1 4      r s
fmax      v    vector    -        1 4     1 4      i r
fmin      v    vector    -        1 4     1 4      i r
fmaxnm    v    vector    -        1 4     1 4      r r
fminnm    v    vector    -        1 4     1 4      r r
fmaxp     v    vector    -        1 4     1 4      r r
fminp     v    vector    -        1 4     1 4      r r
fmaxnmp   v    vector    -        1 4     1 4      r r
fminnmp   v    vector    -        1 4     1 4      r r
fmaxv     v    wide      -        1 8     1 8      - -
fminv     v    wide      -        1 8     1 8      - -
fmaxnmv   v    wide      -        1 8     1 8      - -
fminnmv   v    wide      -        1 8     1 8      - -
fabs      v    vector    -        1 4     1 4      r r
fneg      v    vector    -        1 4     1 4      r r
fcmeq     v    vector    -        1 4     1 4      r r
fcmge     v    vector    -        1 4     1 4      r r
fcmgt     v    vector    -        1 4     1 4      r r
fcmle     v    vector    -        1 4     1 4      r r
fcmlt     v    vector    -        1 4     1 4      r r
facge     v    vector    -        1 4     1 4      r r
facgt     v    vector    -        1 4     1 4      r r
fcmp      v    vector    compare  1 4     1 4      - -
fcmpe     v    vector    compare  1 4     1 4      - -
fccmp     v    vector    compare  1 4     1 4      - -
fccmpe    v    vector    compare  1 4     1 4      - -
fcsel     v    vector    if       1 4     1 4      - -
frecpe    v    vector    -        1 4     1 4      r r
frecps    v    vector    -        1 8     1 4      r r
frsqrte   v    vector    -        1 4     1 4      r r
frsqrts   v    vector    -        1 8     1 4      r r
fdiv      q    divide    -        12 12   12 12    r r
fdiv      d    divide    -        12 12   10 13    r l
fsqrt     q    divide    -        12 12   12 12    i r
fsqrt     d    divide    -        12 12   9 12     r l
scvtf     vx   vector    -        1 6     1 6      r r
scvtf     v    vector    -        1 4     1 4      i r
ucvtf     vx   vector    -        1 6     1 6      r r
ucvtf     v    vector    -        1 4     1 4      i r
fcvt      v    vector    -        1 4     1 4      i r
fcvtl     v    vector    -        1 4     1 4      i r
fcvtl2    v    vector    -        1 4     1 4      i r
fcvtn     v    vector    -        1 4     1 4      i r
fcvtn2    v    vector    merge    1 4     1 4      i r
fcvtzs    x    umov      -        1 7     1 7      r r
fcvtzs    v    vector    -        1 4     1 4      i r
fcvtzu    x    umov      -        1 7     1 7      r r
fcvtzu    v    vector    -        1 4     1 4      i r
fcvtas    x    umov      -        1 7     1 7      r r
fcvtas    v    vector    -        1 4     1 4      i r
fcvtms    x    umov      -        1 7     1 7      r r
fcvtms    v    vector    -        1 4     1 4      i r
fcvtns    x    umov      -        1 7     1 7      r r
fcvtns    v    vector    -        1 4     1 4      i r
fcvtps    x    umov      -        1 7     1 7      r r
fcvtps    v    vector    -        1 4     1 4      i r
frinta    v    vector    -        1 4     1 4      r r
frinti    v    vector    -        1 4     1 4      r r
frintm    v    vector    -        1 4     1 4      r r
frintn    v    vector    -        1 4     1 4      r r
frintp    v    vector    -        1 4     1 4      r r
frintx    v    vector    -        1 4     1 4      r r
frintz    v    vector    -        1 4     1 4      r r
add       q    vector    -        1 2     1 3      i s
add       d    vector    -        1 2     1 2      i s
sub       q    vector    -        1 2     1 3      i s
sub       d    vector    -        1 2     1 2      i s
addp      v    vector    -        1 2     1 3      r r
addv      v    wide      -        1 4     1 4      - -
saddlv    v    wide      -        1 4     1 4      - -
uaddlv    v    wide      -        1 4     1 4      - -
smaxv     v    wide      -        1 4     1 4      - -
sminv     v    wide      -        1 4     1 4      - -
umaxv     v    wide      -        1 4     1 4      - -
uminv     v    wide      -        1 4     1 4      - -
saddl     v    vector    -        1 2     1 3      r r
saddl2    v    vector    -        1 2     1 3      r r
uaddl     v    vector    -        1 2     1 3      r r
uaddl2    v    vector    -        1 2     1 3      r r
saddw     v    vector    -        1 2     1 3      r r
saddw2    v    vector    -        1 2     1 3      r r
uaddw     v    vector    -        1 2     1 3      r r
uaddw2    v    vector    -        1 2     1 3      r r
ssubl     v    vector    -        1 2     1 3      r r
ssubl2    v    vector    -        1 2     1 3      r r
usubl     v    vector    -        1 2     1 3      r r
usubl2    v    vector    -        1 2     1 3      r r
saddlp    v    vector    -        1 4     1 4      r r
uaddlp    v    vector    -        1 4     1 4      r r
sadalp    v    vector    acc      2 4     2 4      i r
uadalp    v    vector    acc      2 4     2 4      i r
abs       v    vector    -        1 2     1 3      r r
neg       v    vector    -        1 2     1 3      r r
cmeq      v    vector    -        1 2     1 3      r r
cmge      v    vector    -        1 2     1 3      r r
cmgt      v    vector    -        1 2     1 3      r r
cmhi      v    vector    -        1 2     1 3      r r
cmhs      v    vector    -        1 2     1 3      r r
cmle      v    vector    -        1 2     1 3      r r
cmlt      v    vector    -        1 2     1 3      r r
cmtst     v    vector    -        1 2     1 3      r r
smax      v    vector    -        1 2     1 3      i r
smin      v    vector    -        1 2     1 3      i r
umax      v    vector    -        1 2     1 3      i r
umin      v    vector    -        1 2     1 3      i r
umaxp     v    vector    -        1 2     1 3      r r
uminp     v    vector    -        1 2     1 3      r r
and       v    vector    -        1 1     1 2      i r
orr       v    vector    -        1 1     1 2      i r
eor       v    vector    -        1 1     1 2      i r
bic       v    vector    -        1 1     1 2      i r
orn       v    vector    -        1 1     1 2      i r
mvn       v    vector    -        1 1     1 2      i r
not       v    vector    -        1 1     1 2      i r
bsl       v    vector    merge    1 2     1 2      r r
bit       v    vector    merge    1 2     1 2      r r
bif       v    vector    merge    1 2     1 2      r r
movi      v    vector    -        1 2     1 2      r r
mvni      v    vector    -        1 2     1 2      r r
mul       v    vector    -        1 4     1 4      i s
mla       v    vector    acc      1 4:1   1 4:4    i s
mls       v    vector    acc      1 4:1   1 4:4    i s
smull     v    vector    -        1 4     1 4      i s
smull2    v    vector    -        1 4     1 4      i s
umull     v    vector    -        1 4     1 4      i s
umull2    v    vector    -        1 4     1 4      i s
smlal     v    vector    acc      1 4:1   1 4:2    i s
smlal2    v    vector    acc      1 4:1   1 4:2    i s
umlal     v    vector    acc      1 4:1   1 4:2    i s
umlal2    v    vector    acc      1 4:1   1 4:2    i s
smlsl     v    vector    acc      1 4:1   1 4:2    i s
smlsl2    v    vector    acc      1 4:1   1 4:2    i s
sqdmulh   v    vector    -        1 4     1 4      i s
sqrdmulh  v    vector    -        1 4     1 4      i s
sqrdmlah  v    vector    acc      1 4     1 4      r r
sdot      v    vector    acc      1 4     1 4:1    - c
udot      v    vector    acc      1 4     1 4:1    - c
zip1      v    vector    -        1 2     1 2      i s
zip2      v    vector    -        1 2     1 2      i s
uzp1      v    vector    -        1 2     1 2      i s
uzp2      v    vector    -        1 2     1 2      i s
trn1      v    vector    -        1 2     1 2      i s
trn2      v    vector    -        1 2     1 2      i s
ext       v    vector    -        1 2     1 2      i s
rev16     v    vector    -        1 2     1 2      r r
rev32     v    vector    -        1 2     1 2      r r
rev64     v    vector    -        1 2     1 2      r r
tbl       v    vector    -        n n+1   n n+1    i s
tbx       v    vector    merge    n n+1   n n+1    i s
dup       vx   vector    -        1 2     1 2      r r
dup       v    vector    -        1 2     1 2      i s
ins       lx   ins       part     1 2     1 2      q s
ins       l    wide      merge    1 2     1 2      r s
mov       lx   ins       part     1 2     1 2      q s
mov       l    wide      merge    1 2     1 2      r s
mov       xl   umov      -        1 3     1 3      i r
mov       v    vector    -        1 1     1 2      i r
umov      x    umov      -        1 3     1 3      i r
smov      x    umov      -        1 3     1 3      i r
fmov      lx   ins       part     1 2     1 2      q s
fmov      vx   ins       -        1 2     1 2      r r
fmov      x    umov      -        1 3     1 3      i r
fmov      v    vector    -        1 2     1 2      r r
xtn       v    vector    -        1 2     1 2      i r
xtn2      v    vector    merge    1 2     1 2      i r
sqxtn     v    vector    -        1 4     1 4      i r
sqxtn2    v    vector    merge    1 4     1 4      i r
sqxtun    v    vector    -        1 4     1 4      i r
sqxtun2   v    vector    merge    1 4     1 4      i r
uqxtn     v    vector    -        1 4     1 4      i r
sxtl      v    vector    -        1 2     1 2      i r
sxtl2     v    vector    -        1 2     1 2      i r
uxtl      v    vector    -        1 2     1 2      i r
uxtl2     v    vector    -        1 2     1 2      i r
shl       v    vector    -        1 2     1 2      i r
sshr      v    vector    -        1 2     1 2      i r
ushr      v    vector    -        1 2     1 2      i r
sshl      v    vector    -        1 2     1 2      r r
ushl      v    vector    -        1 2     1 2      r r
sshll     v    vector    -        1 2     1 2      i r
sshll2    v    vector    -        1 2     1 2      i r
ushll     v    vector    -        1 2     1 2      i r
ushll2    v    vector    -        1 2     1 2      i r
shll      v    vector    -        1 2     1 2      i r
shll2     v    vector    -        1 2     1 2      i r
shrn      v    vector    -        1 2     1 2      r r
shrn2     v    vector    merge    1 2     1 2      r r
rshrn     v    vector    -        1 4     1 4      r r
rshrn2    v    vector    merge    1 4     1 4      r r
srshl     v    vector    -        1 4     1 4      r r
srshr     v    vector    -        1 4     1 4      r r
ssra      v    vector    acc      1 4     1 4      r r
usra      v    vector    acc      1 4     1 4      r r
sli       v    vector    merge    1 2     1 2      r r
sri       v    vector    merge    1 2     1 2      r r
cnt       v    vector    -        1 2     1 2      r r
ldr       q    load_q    load     2n 4+2i 2n 4+2i  q st
ldur      q    load_q    load     2n 4+2i 2n 4+2i  q st
ldp       q    load_q    load     2n 4+2i 2n 4+2i  q s
ldnp      q    load_q    load     2n 4+2i 2n 4+2i  q s
ld1       v    load_q    load     2n 4+2i 2n 4+2i  q s
ld2       v    load_q    load     2n 4+2i 2n 4+2i  i s
ld3       v    load_q    load     2n 4+2i 2n 4+2i  i r
ld4       v    load_q    load     2n 4+2i 9 11      i s
ld1       l    load_lane part     1 3     1 3      q s
ld2       l    load_lane part     2 4     2 4      - -
ld3       l    load_lane part     3 5     3 5      - -
ld4       l    load_lane part     4 6     4 6      - -
ld1r      -    load_lane load     1 3     1 3      i r
ld2r      -    load_lane load     2 4     2 4      - -
ld3r      -    load_lane load     3 5     3 5      - -
ld4r      -    load_lane load     4 6     4 6      - -
ldr       d    load_d    load     1 3     1 3      q sn
ldur      d    load_d    load     1 3     1 3      q sn
ldp       d    load_2d   load     2 3+1i  2 3+1i   q s
ldnp      d    load_2d   load     2 3+1i  2 3+1i   q s
ldr       x    load_x    load     1 3     1 3      i s
ldur      x    load_x    load     1 3     1 3      i s
ldrb      x    load_x    load     1 4     1 3      - s
ldurb     x    load_x    load     1 4     1 3      - s
ldrh      x    load_x    load     1 4     1 3      - s
ldurh     x    load_x    load     1 4     1 3      - s
ldrsb     x    load_x    load     1 4     1 3      - s
ldursb    x    load_x    load     1 4     1 3      - s
ldrsh     x    load_x    load     1 4     1 3      - s
ldursh    x    load_x    load     1 4     1 3      - s
ldrsw     x    load_x    load     1 4     1 3      - s
ldursw    x    load_x    load     1 4     1 3      - s
ldp       x    load_2x   load     2 3+1i  2 3+1i   i s
ldnp      x    load_2x   load     2 3+1i  2 3+1i   i s
ldpsw     x    load_2x   load     2 4+1i  2 3+1i   - s
ldar      x    load_x    load     1 3     1 3      - -
ldarb     x    load_x    load     1 4     1 3      - -
ldarh     x    load_x    load     1 4     1 3      - -
ldapr     x    load_x    load     1 3     1 3      - -
ldxr      x    load_x    load     1 3     1 3      - -
ldaxr     x    load_x    load     1 3     1 3      - -
prfm      -    load_x    store    1 0     1 0      n n
prfum     -    load_x    store    1 0     1 0      n n
str       v    store_v   store    n 0     n 0      q t
stur      v    store_v   store    n 0     n 0      q t
stp       v    store_v   store    n 0     n 0      q t
stnp      v    store_v   store    n 0     n 0      q t
st1       v    store_v   store    n 0     n 0      q s
st2       v    store_v   store    2n 0    2n 0     - -
st3       v    store_v   store    2n 0    2n 0     - -
st4       v    store_v   store    2n 0    2n 0     - -
st1       l    store_v   store    1 0     1 0      i r
st2       l    store_v   store    2 0     2 0      - -
st3       l    store_v   store    3 0     3 0      - -
st4       l    store_v   store    4 0     4 0      - -
str       x    store_x   store    1 0     1 0      q r
stur      x    store_x   store    1 0     1 0      q r
strb      x    store_x   store    1 0     1 0      r r
sturb     x    store_x   store    1 0     1 0      r r
strh      x    store_x   store    1 0     1 0      r r
sturh     x    store_x   store    1 0     1 0      r r
stp       x    store_x   store    1 0     1 0      - -
stnp      x    store_x   store    1 0     1 0      - -
stlr      x    store_x   store    1 0     1 0      - -
stlrb     x    store_x   store    1 0     1 0      - -
stxr      x    store_x   -        1 1     1 1      - -
stlxr     x    store_x   -        1 1     1 1      - -
add       x    alu       -        1 1     1 1      i r
sub       x    alu       -        1 1     1 1      r r
adds      x    alu       flags    1 1     1 1      r r
subs      x    alu       flags    1 1     1 1      r r
cmp       x    alu       compare  1 1     1 1      q r
cmn       x    alu       compare  1 1     1 1      r r
neg       x    alu       -        1 1     1 1      r r
negs      x    alu       flags    1 1     1 1      r r
adc       x    alu       if       1 1     1 1      r r
adcs      x    alu       flags    1 1     1 1      r r
sbc       x    alu       if       1 1     1 1      r r
sbcs      x    alu       flags    1 1     1 1      r r
and       x    alu       -        1 1     1 1      r r
orr       x    alu       -        1 1     1 1      r r
eor       x    alu       -        1 1     1 1      r r
bic       x    alu       -        1 1     1 1      r r
orn       x    alu       -        1 1     1 1      r r
eon       x    alu       -        1 1     1 1      r r
ands      x    alu       flags    1 1     1 1      r r
bics      x    alu       flags    1 1     1 1      r r
tst       x    alu       compare  1 1     1 1      r r
mov       x    alu       -        1 1     1 1      r r
movz      x    alu       -        1 1     1 1      r r
movn      x    alu       -        1 1     1 1      r r
movk      x    alu       merge    1 1     1 1      r r
mvn       x    alu       -        1 1     1 1      r r
adr       x    alu       -        1 1     1 1      r r
adrp      x    alu       -        1 1     1 1      r r
csel      x    alu       if       1 1     1 1      r r
csinc     x    alu       if       1 1     1 1      r r
csinv     x    alu       if       1 1     1 1      r r
csneg     x    alu       if       1 1     1 1      r r
cset      x    alu       if       1 1     1 1      r r
csetm     x    alu       if       1 1     1 1      r r
cinc      x    alu       if       1 1     1 1      r r
cinv      x    alu       if       1 1     1 1      r r
cneg      x    alu       if       1 1     1 1      r r
ccmp      x    alu       compare  1 1     1 1      r r
ccmn      x    alu       compare  1 1     1 1      r r
lsl       x    alu       -        1 2     1 2      r s
lsr       x    alu       -        1 2     1 2      r s
asr       x    alu       -        1 2     1 2      r s
ror       x    alu       -        1 2     1 2      r s
extr      x    alu       -        1 2     1 2      - -
ubfx      x    alu       -        1 2     1 2      - -
sbfx      x    alu       -        1 2     1 2      - -
ubfiz     x    alu       -        1 2     1 2      - -
sbfiz     x    alu       -        1 2     1 2      - -
bfi       x    alu       merge    1 2     1 2      - -
bfxil     x    alu       merge    1 2     1 2      - -
bfc       x    alu       merge    1 2     1 2      - -
sxtw      x    alu       -        1 2     1 2      - -
sxth      x    alu       -        1 2     1 2      - -
sxtb      x    alu       -        1 2     1 2      - -
uxtw      x    alu       -        1 2     1 2      - -
uxth      x    alu       -        1 2     1 2      - -
uxtb      x    alu       -        1 2     1 2      - -
clz       x    alu       -        1 2     1 2      - -
cls       x    alu       -        1 2     1 2      - -
rbit      x    alu       -        1 2     1 2      - -
rev       x    alu       -        1 2     1 2      - -
rev16     x    alu       -        1 2     1 2      - -
mul       x    integer   -        1 4     1 4      l l
mneg      x    integer   -        1 4     1 4      l l
madd      x    integer   -        1 4     1 4      l l
msub      x    integer   -        1 4     1 4      l l
smull     x    integer   -        1 4     1 4      l l
umull     x    integer   -        1 4     1 4      l l
smaddl    x    integer   -        1 4     1 4      l l
umaddl    x    integer   -        1 4     1 4      l l
smsubl    x    integer   -        1 4     1 4      l l
umsubl    x    integer   -        1 4     1 4      l l
smulh     x    integer   -        1 4     1 4      l l
umulh     x    integer   -        1 4     1 4      l l
sdiv      x    quotient  -        8 8     8 8      l l
udiv      x    quotient  -        8 8     8 8      l l
b         -    branch    jump     1 0     1 0      q r
b.        -    branch    if       1 0     1 0      q r
bl        -    branch    jump     1 0     1 0      r r
br        -    branch    jump     1 0     1 0      r r
blr       -    branch    jump     1 0     1 0      r r
ret       -    branch    jump     1 0     1 0      r r
cbz       -    branch    jump     1 0     1 0      r r
cbnz      -    branch    jump     1 0     1 0      r r
tbz       -    branch    jump     1 0     1 0      r r
tbnz      -    branch    jump     1 0     1 0      r r
nop       -    none      jump     1 0     1 0      q r
hint      -    none      jump     1 0     1 0      - -
bti       -    none      jump     1 0     1 0      - -
dmb       -    none      jump     1 0     1 0      - -
svc       -    none      jump     1 0     1 0      - -
mrs       -    none      -        1 1     1 1      - -
msr       -    none      jump     1 0     1 0      - -
"""
