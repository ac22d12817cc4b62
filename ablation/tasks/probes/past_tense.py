"""Verbs: the past tense, the third person, the -ing form, or the verb again."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half, table

RULES = ("past", "third person", "-ing form", "unchanged")
# Verb, past tense, third person, -ing form.
VERBS = table(
    """
    go, went, goes, going
    eat, ate, eats, eating
    see, saw, sees, seeing
    take, took, takes, taking
    give, gave, gives, giving
    come, came, comes, coming
    run, ran, runs, running
    write, wrote, writes, writing
    drive, drove, drives, driving
    ride, rode, rides, riding
    rise, rose, rises, rising
    speak, spoke, speaks, speaking
    break, broke, breaks, breaking
    steal, stole, steals, stealing
    freeze, froze, freezes, freezing
    choose, chose, chooses, choosing
    wake, woke, wakes, waking
    sing, sang, sings, singing
    ring, rang, rings, ringing
    drink, drank, drinks, drinking
    sink, sank, sinks, sinking
    swim, swam, swims, swimming
    begin, began, begins, beginning
    know, knew, knows, knowing
    grow, grew, grows, growing
    throw, threw, throws, throwing
    blow, blew, blows, blowing
    fly, flew, flies, flying
    draw, drew, draws, drawing
    fall, fell, falls, falling
    feel, felt, feels, feeling
    keep, kept, keeps, keeping
    sleep, slept, sleeps, sleeping
    leave, left, leaves, leaving
    meet, met, meets, meeting
    send, sent, sends, sending
    spend, spent, spends, spending
    build, built, builds, building
    lend, lent, lends, lending
    lose, lost, loses, losing
    buy, bought, buys, buying
    bring, brought, brings, bringing
    think, thought, thinks, thinking
    catch, caught, catches, catching
    teach, taught, teaches, teaching
    seek, sought, seeks, seeking
    fight, fought, fights, fighting
    find, found, finds, finding
    hold, held, holds, holding
    tell, told, tells, telling
    sell, sold, sells, selling
    say, said, says, saying
    pay, paid, pays, paying
    make, made, makes, making
    have, had, has, having
    hear, heard, hears, hearing
    stand, stood, stands, standing
    understand, understood, understands, understanding
    win, won, wins, winning
    sit, sat, sits, sitting
    get, got, gets, getting
    forget, forgot, forgets, forgetting
    shoot, shot, shoots, shooting
    lead, led, leads, leading
    bite, bit, bites, biting
    hide, hid, hides, hiding
    shake, shook, shakes, shaking
    wear, wore, wears, wearing
    tear, tore, tears, tearing
    swear, swore, swears, swearing
    hang, hung, hangs, hanging
    dig, dug, digs, digging
    stick, stuck, sticks, sticking
    strike, struck, strikes, striking
    swing, swung, swings, swinging
    spin, spun, spins, spinning
    feed, fed, feeds, feeding
    bend, bent, bends, bending
    become, became, becomes, becoming
    do, did, does, doing
    walk, walked, walks, walking
    talk, talked, talks, talking
    play, played, plays, playing
    work, worked, works, working
    jump, jumped, jumps, jumping
    help, helped, helps, helping
    want, wanted, wants, wanting
    open, opened, opens, opening
    close, closed, closes, closing
    move, moved, moves, moving
    smile, smiled, smiles, smiling
    dance, danced, dances, dancing
    stop, stopped, stops, stopping
    plan, planned, plans, planning
    carry, carried, carries, carrying
    study, studied, studies, studying
    try, tried, tries, trying
    wash, washed, washes, washing
    kiss, kissed, kisses, kissing
    fix, fixed, fixes, fixing
    """,
    4,
)


def items(split: str) -> list[Item]:
    """Half of the verbs."""
    return [Item(verb, (past, third, ing, verb)) for verb, past, third, ing in half(VERBS, split, "past_tense")]
