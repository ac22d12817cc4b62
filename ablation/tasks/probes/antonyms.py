"""Adjectives: the opposite, a word of like meaning, the word made stronger, or the word again."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half, table

RULES = ("antonym", "synonym", "stronger", "unchanged")
# Adjective, antonym, synonym.
ADJECTIVES = table(
    """
    hot, cold, boiling
    big, small, large
    tall, short, high
    fast, slow, quick
    happy, sad, glad
    rich, poor, wealthy
    strong, weak, powerful
    hard, soft, firm
    heavy, light, weighty
    loud, quiet, noisy
    bright, dark, shiny
    clean, dirty, spotless
    wet, dry, damp
    young, old, youthful
    new, ancient, recent
    easy, difficult, simple
    good, bad, fine
    beautiful, ugly, pretty
    brave, cowardly, bold
    clever, stupid, smart
    kind, cruel, gentle
    polite, rude, courteous
    full, empty, packed
    thick, thin, fat
    wide, narrow, broad
    deep, shallow, bottomless
    early, late, premature
    near, far, close
    open, shut, ajar
    safe, dangerous, secure
    sharp, blunt, keen
    smooth, rough, even
    sweet, bitter, sugary
    tight, loose, snug
    true, false, correct
    cheap, expensive, inexpensive
    common, rare, usual
    calm, nervous, peaceful
    lazy, diligent, idle
    generous, stingy, giving
    humble, proud, modest
    honest, dishonest, truthful
    patient, impatient, tolerant
    healthy, sick, fit
    alive, dead, living
    awake, asleep, conscious
    absent, present, missing
    active, passive, energetic
    angry, pleased, furious
    famous, unknown, renowned
    fresh, stale, crisp
    friendly, hostile, amiable
    funny, serious, comical
    guilty, innocent, culpable
    hungry, sated, starving
    interesting, boring, fascinating
    legal, illegal, lawful
    long, brief, lengthy
    major, minor, principal
    maximum, minimum, utmost
    modern, outdated, contemporary
    necessary, optional, required
    neat, messy, tidy
    normal, strange, ordinary
    permanent, temporary, lasting
    private, public, personal
    pure, tainted, unmixed
    ripe, unripe, mature
    rigid, flexible, stiff
    same, different, identical
    shy, confident, timid
    sour, sugared, acidic
    steep, gradual, sheer
    straight, crooked, direct
    tame, wild, docile
    tired, rested, weary
    transparent, opaque, clear
    useful, useless, helpful
    vague, precise, unclear
    valuable, worthless, precious
    victorious, defeated, triumphant
    visible, hidden, noticeable
    warm, cool, heated
    wise, foolish, sage
    wrong, right, mistaken
    careful, careless, cautious
    eager, reluctant, enthusiastic
    fair, unjust, impartial
    fragile, sturdy, delicate
    huge, tiny, enormous
    loyal, disloyal, faithful
    lucky, unlucky, fortunate
    dull, exciting, tedious
    distant, nearby, remote
    busy, unoccupied, occupied
    abundant, scarce, plentiful
    accurate, inaccurate, exact
    cheerful, gloomy, merry
    complex, plain, complicated
    obedient, rebellious, compliant
    """,
    3,
)


def items(split: str) -> list[Item]:
    """Half of the adjectives."""
    return [
        Item(word, (antonym, synonym, f"very {word}", word))
        for word, antonym, synonym in half(ADJECTIVES, split, "antonyms")
    ]
