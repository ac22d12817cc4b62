"""Everyday nouns by kind, for the probes that need no more than words."""

from __future__ import annotations


def one_each(text: str) -> tuple[str, ...]:
    """The words of a text, each of which may stand in it only once."""
    words = tuple(text.split())
    if len(set(words)) < len(words):
        raise AssertionError(f"a word stands twice in: {text}")
    return words


ANIMALS = one_each(
    """
    dog cat horse cow pig sheep goat donkey rabbit mouse rat squirrel fox wolf bear lion tiger leopard cheetah elephant
    giraffe zebra hippo rhino monkey gorilla kangaroo koala panda camel llama deer moose bison buffalo otter beaver
    badger hedgehog bat whale dolphin shark salmon trout tuna eel octopus squid crab lobster shrimp snail spider ant bee
    wasp butterfly moth beetle fly mosquito cricket grasshopper worm snake lizard crocodile alligator turtle tortoise
    frog toad newt eagle hawk falcon owl crow raven sparrow robin pigeon dove swan goose duck chicken rooster turkey
    peacock parrot penguin ostrich flamingo stork hamster ferret jaguar hyena
    """
)
FOODS = one_each(
    """
    bread butter cheese milk yogurt cream egg honey jam sugar salt pepper rice pasta noodle pizza burger sandwich soup
    salad stew curry sausage bacon ham steak meatball omelette pancake waffle toast muffin biscuit cookie cake pie
    brownie pudding chocolate candy popcorn pretzel cracker apple banana pear peach plum cherry grape lemon lime orange
    mango melon papaya pineapple strawberry raspberry blueberry apricot fig raisin coconut almond walnut peanut cashew
    hazelnut carrot potato tomato onion garlic cabbage lettuce spinach broccoli cauliflower celery cucumber pumpkin
    squash radish turnip beet pea bean lentil corn mushroom olive avocado tofu mustard ketchup vinegar ginger basil
    cereal
    """
)
TOOLS = one_each(
    """
    hammer saw drill wrench screwdriver pliers chisel axe shovel rake hoe ladder bucket broom mop brush rope chain nail
    screw knife fork spoon pan kettle oven scissors needle ruler pencil pen stapler lamp candle torch clock camera
    radio telephone computer keyboard printer wheel engine pump anvil clamp crowbar mallet tractor
    """
)
CLOTHES = one_each(
    """
    shirt blouse sweater jacket coat raincoat vest dress skirt trousers jeans shorts pajamas socks stockings shoes boots
    sandals slippers sneakers hat cap helmet scarf gloves mittens belt tie apron uniform robe gown suit cardigan hoodie
    turban veil bonnet cloak shawl poncho kimono tunic leggings tights overalls swimsuit bikini beret cape
    """
)
KINDS = {"animal": ANIMALS, "food": FOODS, "tool": TOOLS, "clothing": CLOTHES}
NOUNS = tuple(word for words in KINDS.values() for word in words)
