/* The apply machine of PROTOCOL 3 in a small world, for spin; README.md says how to run it.
 *
 * Two increase runs (bee out and cat in; then bee beside it), a reduce run (bee fails a gate), workers that die, come back and are
 * fenced, two Runners, frames that are late, a projector, Redis with a replica, people, kill, freeze and circuit. One
 * process chooses what happens next; each choice is one step. -DB1 ... -DB14 do it wrong in the ways of PROTOCOL 5.
 * GO(run, state, event, next) is a row of the table: a test compares them with the rows that run.
 */
#ifndef LEASE
#define LEASE 1
#endif
#ifndef RUNS
#define RUNS 2
#endif
#ifndef WORKERS
#define WORKERS 1
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef ACTS
#define ACTS 1
#endif

#define REDUCE 2
#define BEE 1
#define CAT 2
#define NONE 15

mtype = { requested, queued, freezing, draining, frozen, switched, done, cancelled, rolling_back, rolled_back, held, unmade };

typedef Run { mtype st = unmade; byte drain = NONE; byte lease = NONE; byte deaths; bit late; bit approved; bit cut; byte was; byte base }
typedef Answer { byte rev; byte mask; byte ticks; bit old; bit torn }

/* The rows. */
Run r[3];
byte content = BEE, gen = 1, rev = 1, lost;   /* lost: 1 a proof, 2 the budgets */
bit own[2], frz, cir, kil;
/* A worker's transaction that is committed and not visible yet. */
bit pending, fences; byte by, on, pdrain; mtype to;
/* Who is under way. */
byte wrun[2] = NONE; bit current[2];
Answer runner[2], frame[2], fresh, redis, replica, shot;
bit framed[2], shooting, bell, told;
/* Budgets and, for I1, the ticks since each instance may not trade (NONE: it may). */
byte faults = FAULTS, acts = ACTS, shut[2];
/* Scratch, 0 between steps. */
byte i, w, k, n, half, alive; bit hasold, hasnew, ok;

#define GO(run, state, event, next) assert(r[run].st == state); r[run].st = next
#define PERMITS ((own[0] || own[1] || frz || cir || kil) -> 0 : content)
#define BLOCKED (frz || cir || kil)
#define LIVE(x) (x == queued || x == freezing || x == draining || x == frozen || x == switched || x == rolling_back)
#define EXCLUSIVE(x) (LIVE(x) || x == held)
#define GOAL(x) (x == 0 -> CAT : BEE + CAT)
/* What a reduce run has cut meanwhile stays cut: at the switch, and where the switch is undone. */
#define MERGED(x) (GOAL(i) & ~(r[i].base & ~(x)))
#define UNDONE (r[i].was & ~(MERGED(r[i].was) & ~content))
#define LESS(x) x = ((x == 0 || x == NONE) -> x : x - 1)
#define COPY(a, b) a.rev = b.rev; a.mask = b.mask; a.ticks = b.ticks; a.old = b.old; a.torn = b.torn
#define CLEAR(a) a.rev = 0; a.mask = 0; a.ticks = 0; a.old = 0; a.torn = 0
#define OUTDATE(a) a.old = (a.mask && a.ticks -> 1 : 0)
#define HUSK(a) if :: a.ticks == 0 || a.mask == 0 -> a.mask = 0; a.ticks = 0; a.old = 0 :: else fi
#define ASK(a, m) a.rev = rev; a.mask = PERMITS & (m); a.ticks = LEASE; a.old = 0; a.torn = 0

#ifdef B1
#define UNFREEZE own[i] = 0; frz = 0; assert(!cir); cir = 0
#else
#define UNFREEZE own[i] = 0
#endif
#ifdef B3
#define ALONE(x) 1
#else
#define ALONE(x) (!EXCLUSIVE(r[1 - x].st))                   /* the partial unique index */
#endif
#ifdef B6
#define DRAINED (r[i].drain == 0 || (redis.rev == rev && redis.mask == 0))
#else
#ifdef B11
#define DRAINED 1
#else
#define DRAINED (r[i].drain == 0)
#endif
#endif

/* A set is committed by an increase run: everything that was told before is of another set now (I2). */
inline commit(what, number) {
    assert(number > gen); gen = number; content = what;      /* I6 */
    assert(!(r[i].cut && (content & BEE)));                  /* I21 */
    OUTDATE(runner[0]); OUTDATE(runner[1]); OUTDATE(frame[0]); OUTDATE(frame[1]);
    OUTDATE(redis); OUTDATE(replica); OUTDATE(shot)
}
#ifdef B8
#define UNDO commit(UNDONE, gen - 1)
#else
#define UNDO commit(UNDONE, gen + 1)
#endif

inline end(x) {
    r[x].drain = NONE; r[x].lease = NONE; r[x].deaths = 0; r[x].late = 0; r[x].approved = 0; r[x].cut = 0;
    r[x].was = 0; r[x].base = 0
}

/* What follows from any change of the rows. */
inline seen() {
    rev++;
    bell = told;
    if :: PERMITS & BEE -> shut[0] = NONE :: else -> shut[0] = (shut[0] == NONE -> 0 : shut[0]) fi;
    if :: PERMITS & CAT -> shut[1] = NONE :: else -> shut[1] = (shut[1] == NONE -> 0 : shut[1]) fi
}

/* Where a worker's step leads to; `to` stays unmade where the run waits. */
inline decide() {
    to = unmade; fences = 0; pdrain = r[i].drain;
    if
    :: i == REDUCE && r[i].st == queued -> to = switched
    :: i == REDUCE && r[i].st == switched -> to = done
    :: i != REDUCE && r[i].st == queued ->
        to = (r[i].approved && lost != 1 && !BLOCKED && !(content & ~r[i].base) -> freezing : cancelled);
#ifdef B10
        pdrain = LEASE
#else
        pdrain = NONE
#endif
    :: i != REDUCE && r[i].st == freezing && !r[i].late && r[i].deaths < 2 -> to = draining;
#ifndef B10
        pdrain = LEASE
#endif
    :: i != REDUCE && r[i].st == draining && !r[i].late && r[i].deaths < 2 -> to = (DRAINED -> frozen : unmade)
    :: i != REDUCE && r[i].st == frozen && !r[i].late && r[i].deaths < 2 ->
        to = (!r[i].approved || lost == 1 || BLOCKED || (content & ~r[i].base) -> cancelled : (lost == 2 -> held : switched))
    :: i != REDUCE && r[i].st == switched && !r[i].late && r[i].deaths < 2 -> to = done
    :: i != REDUCE && r[i].st == rolling_back -> to = rolled_back
    :: else -> to = held
    fi
}

/* The transaction becomes visible. */
inline land() {
    i = on; pending = 0; r[i].drain = pdrain;
    if
    :: i == REDUCE && to == switched -> GO(i, queued, step, switched);
        r[0].cut = (r[0].st != unmade && (content & BEE) -> 1 : r[0].cut);
        r[1].cut = (r[1].st != unmade && (content & BEE) -> 1 : r[1].cut);
        gen = (content & BEE -> gen + 1 : gen); content = content & ~BEE
    :: i == REDUCE && to == done -> GO(i, switched, step, done); end(i)
    :: i != REDUCE && to == freezing -> GO(i, queued, step, freezing); own[i] = 1; fences = 1
    :: i != REDUCE && to == draining -> GO(i, freezing, step, draining)
    :: i != REDUCE && to == frozen -> GO(i, draining, step, frozen)
    :: i != REDUCE && to == switched -> GO(i, frozen, step, switched); r[i].was = content; commit(MERGED(content), gen + 1)
    :: i != REDUCE && to == done -> GO(i, switched, step, done); UNFREEZE; end(i)
    :: i != REDUCE && to == rolled_back -> GO(i, rolling_back, step, rolled_back); UNFREEZE; end(i)
    :: i != REDUCE && to == cancelled && r[i].st == queued -> GO(i, queued, step, cancelled); end(i)
    :: i != REDUCE && to == cancelled && r[i].st == frozen -> GO(i, frozen, step, cancelled); UNFREEZE; end(i)
    :: i != REDUCE && to == held && r[i].st == freezing -> GO(i, freezing, step, held)
    :: i != REDUCE && to == held && r[i].st == draining -> GO(i, draining, step, held)
    :: i != REDUCE && to == held && r[i].st == frozen -> GO(i, frozen, step, held)
    :: i != REDUCE && to == held && r[i].st == switched -> GO(i, switched, step, held); UNDO
    fi;
    if :: to == held -> own[i] = 1; r[i].lease = NONE; r[i].drain = NONE; r[i].was = 0; fences = 1 :: else fi;
    seen();
    fence(by);
    wrun[by] = (LIVE(to) && wrun[by] == i -> i : NONE); current[by] = (wrun[by] == i);
    to = unmade; on = 0; by = 0; pdrain = 0; fences = 0; i = 0
}

/* The run's epoch has risen: nobody but `but` owns the new one. */
inline fence(but) {
    if :: fences && wrun[0] == i && but != 0 -> current[0] = 0 :: else fi;
    if :: fences && wrun[1] == i && but != 1 -> current[1] = 0 :: else fi
}

/* A worker comes to a run: one that nobody owns, or whose owner's lease has ended. */
#define FREE(x) (r[x].lease == NONE || r[x].lease == 0)
#ifdef B13
#define CLAIMABLE(x) (LIVE(r[x].st) && r[x].lease == NONE)
#else
#define CLAIMABLE(x) (LIVE(r[x].st) && FREE(x))
#endif
inline claim() {
    if
    :: i == REDUCE && r[i].st == queued -> GO(i, queued, take_over, queued)
    :: i == REDUCE && r[i].st == switched -> GO(i, switched, take_over, switched)
    :: i != REDUCE && r[i].st == queued -> GO(i, queued, take_over, queued)
    :: i != REDUCE && r[i].st == freezing -> GO(i, freezing, take_over, freezing)
    :: i != REDUCE && r[i].st == draining -> GO(i, draining, take_over, draining);
        r[i].drain = (r[i].lease == 0 -> LEASE : r[i].drain)
    :: i != REDUCE && r[i].st == frozen -> GO(i, frozen, take_over, frozen)
    :: i != REDUCE && r[i].st == switched -> GO(i, switched, take_over, switched)
    :: i != REDUCE && r[i].st == rolling_back -> GO(i, rolling_back, take_over, rolling_back)
    fi;
    r[i].deaths = (r[i].lease == 0 && r[i].deaths < 2 -> r[i].deaths + 1 : r[i].deaths);
    r[i].lease = 1; wrun[w] = i; current[w] = 1; fences = 1; fence(w)
}

/* Worker w steps run i; a run that waits is given back. */
inline work() {
    decide();
    if
    :: to == unmade && current[w] -> r[i].lease = NONE; wrun[w] = NONE; current[w] = 0
#ifdef B2
    :: to != unmade && !current[w] -> assert(false)          /* I6: an old epoch changes something */
#else
    :: !current[w] -> wrun[w] = NONE; to = unmade
#endif
    :: to != unmade && current[w] -> pending = 1; by = w; on = i
    :: else -> wrun[w] = NONE; current[w] = 0
    fi;
    if :: !pending -> pdrain = 0; fences = 0; to = unmade :: else fences = 0 fi;
    i = 0; w = 0
}

/* People: abort is possible wherever an increase run is under way, resume where it is held. */
inline abort() {
    fences = 1;
    if
    :: r[i].st == requested -> GO(i, requested, abort, cancelled); end(i)
    :: r[i].st == queued -> GO(i, queued, abort, cancelled); end(i)
    :: r[i].st == freezing -> GO(i, freezing, abort, rolled_back); UNFREEZE; end(i)
    :: r[i].st == draining -> GO(i, draining, abort, rolled_back); UNFREEZE; end(i)
    :: r[i].st == frozen -> GO(i, frozen, abort, rolled_back); UNFREEZE; end(i)
    :: r[i].st == held -> GO(i, held, abort, rolled_back); UNFREEZE; end(i)
    :: r[i].st == switched -> GO(i, switched, abort, rolling_back); UNDO; r[i].was = 0
    :: else
    fi;
    fence(2); seen(); fences = 0; i = 0
}

inline project() {
#ifdef B5
    shot.ticks = LEASE;
#endif
    if
    :: shot.ticks && shot.rev >= redis.rev ->
#ifdef B9
        half = (redis.ticks -> (shot.mask & BEE) | (redis.mask & CAT) : shot.mask);
        shot.torn = (redis.ticks && half != shot.mask && half != redis.mask);
        shot.mask = half; half = 0;
#endif
        COPY(redis, shot)
    :: else
    fi;
    CLEAR(shot); shooting = 0
}

inline renew(a) {
#ifdef B7
    assert(a.rev >= runner[k].rev);                          /* I6 */
    COPY(runner[k], a);
#else
    if :: a.rev >= runner[k].rev -> COPY(runner[k], a) :: else fi;
#endif
    HUSK(runner[k])
}

inline pass() {
    LESS(r[0].drain); LESS(r[0].lease); LESS(r[1].drain); LESS(r[1].lease); LESS(r[2].lease); LESS(pdrain);
    LESS(runner[0].ticks); LESS(runner[1].ticks); LESS(frame[0].ticks); LESS(frame[1].ticks);
    HUSK(runner[0]); HUSK(runner[1]);
    LESS(shot.ticks);
#ifndef B4
    LESS(redis.ticks); LESS(replica.ticks);
    if :: redis.ticks == 0 -> CLEAR(redis) :: else fi;
    if :: replica.ticks == 0 -> CLEAR(replica) :: else fi;
#endif
    shut[0] = (shut[0] < LEASE -> shut[0] + 1 : shut[0]);
    shut[1] = (shut[1] < LEASE -> shut[1] + 1 : shut[1])
}

#ifdef B12
#define AGED(a) a.ticks = (a.mask -> LEASE : 0)
#else
#define AGED(a) skip
#endif

inline die() {
    faults--;
    if :: pending && by == w -> pending = 0; to = unmade; on = 0; by = 0; pdrain = 0 :: else fi;
    wrun[w] = NONE; current[w] = 0; bell = 0; w = 0
}

inline approve() {
    if :: ALONE(i) -> r[i].approved = 1; GO(i, requested, approve, queued); seen() :: else fi;
    i = 0
}

inline request() {
    if :: r[0].st == requested -> GO(0, requested, supersede, cancelled); end(0) :: else fi;
    r[1].st = requested; r[1].base = content; seen()
}

#ifdef B10
#define RESUMED LEASE
#else
#define RESUMED NONE
#endif
inline resume() {
    GO(i, held, resume, freezing); r[i].late = 0; r[i].deaths = 0; r[i].drain = RESUMED;
    fences = 1; fence(2); seen(); fences = 0; i = 0
}
#define UNDER_WAY(x) (r[x].st == requested || (EXCLUSIVE(r[x].st) && r[x].st != rolling_back))

#define ALIVE(a, x) ((a.mask >> x) & 1 && a.ticks)
#define WATCH(a) if :: (a.mask && a.ticks) -> alive = 1; hasold = hasold || a.old; hasnew = hasnew || !a.old; \
    assert(!(ALIVE(a, 0) && shut[0] != NONE && shut[0] >= LEASE));          /* I1b */ \
    assert(!(ALIVE(a, 1) && shut[1] != NONE && shut[1] >= LEASE));          \
    assert(!a.torn) /* I2 */ :: else fi
inline check() {
    WATCH(runner[0]); WATCH(runner[1]); WATCH(frame[0]); WATCH(frame[1]); WATCH(redis); WATCH(replica); WATCH(shot);
    assert(!(alive && (r[0].st == frozen || r[0].st == switched || r[1].st == frozen || r[1].st == switched)));  /* I1c */
    assert(!(hasold && hasnew));                                                                                 /* I2 */
    assert(!(EXCLUSIVE(r[0].st) && EXCLUSIVE(r[1].st)));                                                         /* I3 */
    alive = 0; hasold = 0; hasnew = 0
}

/* The projector comes by itself, each second; in B14 only after a commit. */
#ifdef B14
#define RINGS bell
#else
#define RINGS 1
#endif

/* I5 and I26: from here on nothing goes wrong any more. Everything must end or wait for people, Redis equal the rows. */
inline recover() {
    if :: pending -> land() :: else fi;
    n = 0;
    do
    :: n < 10 + 2 * LEASE ->
        k = 0;
        do
        :: k < 3 ->
            wrun[0] = NONE; current[0] = 0;
            if
            :: CLAIMABLE(k) ->
                i = k; w = 0; claim(); work();
                if :: pending -> land() :: else fi;
                r[k].lease = NONE
            :: else
            fi;
            k++
        :: else -> break
        od;
        n++; pass();
        if :: RINGS -> ASK(shot, 3); project(); bell = 0 :: else fi
    :: else -> break
    od;
    assert(!LIVE(r[0].st) && !LIVE(r[1].st) && !LIVE(r[2].st));
    assert(redis.ticks && redis.rev == rev && redis.mask == PERMITS)
}

/* All recoveries end in one state. */
inline forget() {
    end(0); end(1); end(2); r[0].st = unmade; r[1].st = unmade; r[2].st = unmade;
    CLEAR(runner[0]); CLEAR(runner[1]); CLEAR(frame[0]); CLEAR(frame[1]); CLEAR(redis); CLEAR(replica); CLEAR(shot);
    content = 0; gen = 0; rev = 0; lost = 0; own[0] = 0; own[1] = 0; frz = 0; cir = 0; kil = 0; bell = 0; told = 0;
    wrun[0] = 0; wrun[1] = 0; current[0] = 0; current[1] = 0; framed[0] = 0; framed[1] = 0; shooting = 0;
    faults = 0; acts = 0; shut[0] = 0; shut[1] = 0; i = 0; w = 0; k = 0; n = 0
}

active proctype world() {
    d_step {
        r[0].st = requested; r[0].base = BEE; shut[0] = NONE; shut[1] = 0; wrun[0] = NONE; wrun[1] = NONE;
#ifdef B14
        told = 1; bell = 1
#else
        told = 0
#endif
    }
    do
    :: d_step { pass(); check() }
    :: d_step { pending -> land(); check() }
    :: d_step { recover(); forget() } -> break

    /* Workers; a claim is visible at once, its step when it lands. */
    :: d_step { !pending && wrun[0] == NONE && CLAIMABLE(0) -> i = 0; w = 0; claim(); work(); check() }
    :: d_step { !pending && wrun[0] == NONE && CLAIMABLE(1) -> i = 1; w = 0; claim(); work(); check() }
    :: d_step { !pending && wrun[0] == NONE && CLAIMABLE(2) -> i = 2; w = 0; claim(); work(); check() }
    :: d_step { !pending && wrun[0] != NONE -> i = wrun[0]; w = 0; work(); check() }
#if WORKERS > 1
    :: d_step { !pending && wrun[1] == NONE && CLAIMABLE(0) -> i = 0; w = 1; claim(); work(); check() }
    :: d_step { !pending && wrun[1] == NONE && CLAIMABLE(2) -> i = 2; w = 1; claim(); work(); check() }
    :: d_step { !pending && wrun[1] != NONE -> i = wrun[1]; w = 1; work(); check() }
#endif

    /* Runners ask, and hear by frames. */
    :: d_step { ASK(fresh, BEE); k = 0; renew(fresh); CLEAR(fresh); check() }
    :: d_step { ASK(fresh, CAT); k = 1; renew(fresh); CLEAR(fresh); k = 0; check() }
#ifdef FRAMES
    :: d_step { !framed[0] -> ASK(frame[0], BEE); framed[0] = 1 }
    :: d_step { framed[0] -> k = 0; AGED(frame[0]); renew(frame[0]); CLEAR(frame[0]); framed[0] = 0; check() }
#endif

    /* The projector reads, then writes; the replica follows when it likes. */
    :: d_step { !shooting && RINGS -> ASK(shot, 3); shooting = 1; bell = 0 }
    :: d_step { shooting -> project(); check() }
    :: d_step { faults -> COPY(replica, redis) }

    /* Faults. */
    :: d_step { faults && wrun[0] != NONE -> w = 0; die() }
#if WORKERS > 1
    :: d_step { faults && wrun[1] != NONE -> w = 1; die() }
#endif
    :: d_step { faults && redis.rev -> faults--; CLEAR(redis) }
    :: d_step { faults && redis.rev != replica.rev -> faults--; COPY(redis, replica); check() }

    /* People: what makes the world safer or runs go on is free, the rest counts. */
    :: d_step { !pending && r[0].st == requested -> i = 0; approve(); check() }
    :: d_step { !pending && r[1].st == requested -> i = 1; approve(); check() }
#if RUNS > 1
    :: d_step { !pending && r[1].st == unmade && content && content != GOAL(1) && ALONE(1) -> request(); check() }
#endif
    :: d_step { !pending && acts && r[0].st == requested -> acts--; GO(0, requested, reject, cancelled); end(0); seen() }
    :: d_step { !pending && acts && r[0].st == requested -> acts--; GO(0, requested, cancel, cancelled); end(0); seen() }
    :: d_step { !pending && acts && r[0].st == requested -> acts--; GO(0, requested, expire, cancelled); end(0); seen() }
    :: d_step { !pending && acts && UNDER_WAY(0) -> acts--; i = 0; abort(); check() }
    :: d_step { !pending && acts && UNDER_WAY(1) -> acts--; i = 1; abort(); check() }
    :: d_step { !pending && acts && r[0].st == held -> acts--; i = 0; resume(); check() }
    :: d_step { !pending && acts && r[1].st == held -> acts--; i = 1; resume(); check() }
    :: d_step { !pending && acts && own[0] && !r[0].late -> acts--; r[0].late = 1 }
    :: d_step { !pending && acts && own[1] && !r[1].late -> acts--; r[1].late = 1 }
    :: d_step { !pending && acts && r[0].approved -> acts--; r[0].approved = 0 }
    :: d_step { !pending && acts && !lost -> acts--; lost = 1 }
    :: d_step { !pending && acts && !lost -> acts--; lost = 2 }
    :: d_step { !pending && lost -> lost = 0 }
    :: d_step { !pending && acts && !frz -> acts--; frz = 1; seen(); check() }
    :: d_step { !pending && frz -> frz = 0; seen(); check() }
    :: d_step { !pending && acts && !cir -> acts--; cir = 1; seen(); check() }
    :: d_step { !pending && cir -> cir = 0; seen(); check() }
    :: d_step { acts && !kil -> acts--; kil = 1; seen(); check() }                /* a kill waits for no lock (I22) */
    :: d_step { !pending && kil -> kil = 0; seen(); check() }
    :: d_step { !pending && acts && r[REDUCE].st == unmade && (content & BEE) -> acts--; r[REDUCE].st = queued; seen() }
    od
}
