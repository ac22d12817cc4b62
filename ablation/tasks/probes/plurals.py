"""Nouns: the plural, the noun with its article, the possessive, or the noun again."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half, table

RULES = ("plural", "article", "possessive", "unchanged")
# Noun, plural; half of them irregular or with a change of spelling.
NOUNS = table(
    """
    child, children
    man, men
    woman, women
    mouse, mice
    goose, geese
    tooth, teeth
    foot, feet
    ox, oxen
    louse, lice
    person, people
    knife, knives
    wife, wives
    wolf, wolves
    leaf, leaves
    shelf, shelves
    thief, thieves
    loaf, loaves
    calf, calves
    half, halves
    scarf, scarves
    elf, elves
    hoof, hooves
    cactus, cacti
    crisis, crises
    thesis, theses
    analysis, analyses
    oasis, oases
    bacterium, bacteria
    criterion, criteria
    phenomenon, phenomena
    city, cities
    baby, babies
    lady, ladies
    party, parties
    country, countries
    story, stories
    army, armies
    berry, berries
    butterfly, butterflies
    puppy, puppies
    box, boxes
    fox, foxes
    bus, buses
    glass, glasses
    dish, dishes
    watch, watches
    church, churches
    witch, witches
    brush, brushes
    peach, peaches
    potato, potatoes
    tomato, tomatoes
    hero, heroes
    echo, echoes
    dog, dogs
    cat, cats
    tree, trees
    house, houses
    car, cars
    book, books
    table, tables
    chair, chairs
    river, rivers
    mountain, mountains
    flower, flowers
    bird, birds
    boat, boats
    road, roads
    school, schools
    teacher, teachers
    doctor, doctors
    king, kings
    queen, queens
    friend, friends
    brother, brothers
    sister, sisters
    window, windows
    door, doors
    garden, gardens
    letter, letters
    island, islands
    ocean, oceans
    engine, engines
    orange, oranges
    apple, apples
    egg, eggs
    idea, ideas
    umbrella, umbrellas
    artist, artists
    uncle, uncles
    aunt, aunts
    student, students
    farmer, farmers
    bridge, bridges
    village, villages
    forest, forests
    cloud, clouds
    star, stars
    planet, planets
    song, songs
    """,
    2,
)


def items(split: str) -> list[Item]:
    """Half of the nouns."""
    return [
        Item(noun, (plural, f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}", f"{noun}'s", noun))
        for noun, plural in half(NOUNS, split, "plurals")
    ]
