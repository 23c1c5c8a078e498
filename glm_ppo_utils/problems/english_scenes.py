"""What English problems are about: scenes, their items and topics."""

from .wording import Scene, Topic


def _time(activity: str, unit: str = "hour") -> Topic:
    return Topic("takes", f"{activity} time", unit, f" of {activity}", "done")


def _stock(thing: str, unit: str) -> Topic:
    return Topic("needs", f"{thing} use", unit, f" of {thing}")


def _content(thing: str) -> Topic:
    return Topic("contains", f"{thing} content", "gram", f" of {thing}", "included")


def _output(verb: str, label: str, unit: str, use: str, senses: str = ">=") -> Topic:
    return Topic(verb, f"number of {label}", unit, "", use, senses, counts=True)


_PROFIT = Topic("earns", "profit", use="earned", senses=">=")
_COST = Topic("costs", "cost", use="spent", senses="<=")
_WEIGHT = Topic("weighs", "weight", "kilogram", use="packed")
_OUNCES = Topic("weighs", "weight", "ounce", use="packed")
_SPACE = Topic("takes", "space used", "liter", " of space")

SCENES: dict[str, tuple[Scene, ...]] = {
    "mix": (
        Scene(
            ("A workshop makes {items}.", "A carpenter makes {items}."),
            "chairs tables desks shelves stools benches beds doors",
            (_PROFIT, _COST, _time("carving"), _time("painting"), _stock("wood", "plank")),
            (0,),
            (1, 2, 4),
            "made",
            "pieces",
            ("Only whole pieces can be made.", "No piece may be left unfinished."),
            ("A piece may be left partly finished.", "Fractions of a piece are fine."),
        ),
        Scene(
            ("A bakery bakes {items}.", "A baker bakes {items}."),
            "cakes pies loaves rolls tarts buns",
            (
                _PROFIT,
                _COST,
                _time("baking", "minute"),
                _stock("flour", "cup"),
                _stock("sugar", "spoon"),
            ),
            (0,),
            (1, 2, 4),
            "baked",
            "pieces",
            ("Only whole pieces can be baked.", "Fractions of a piece are not allowed."),
            ("Fractions of a piece are allowed.",),
        ),
        Scene(
            ("A tailor sews {items}.", "A clothing firm sews {items}."),
            "shirts coats hats scarves skirts jackets",
            (_PROFIT, _COST, _time("sewing"), _time("cutting"), _stock("cloth", "meter")),
            (0,),
            (1, 2, 4),
            "sewn",
            "garments",
            ("Only whole garments can be sewn.", "Fractions of a garment are not allowed."),
            ("A garment may be left partly finished.", "Fractions of a garment are fine."),
        ),
    ),
    "diet": (
        Scene(
            ("A farmer mixes feed from {items}.", "A mill mixes flour from {items}."),
            "rice corn barley bran soy millet wheat rye",
            (_COST, _content("protein"), _content("fat"), _content("fiber"), _content("starch")),
            (1, 3),
            (0, 2, 4),
            "used",
            "mix",
            ("Only whole kilograms can be used.", "Fractions of a kilogram cannot be used."),
            ("", "Any fraction of a kilogram can be used."),
            "kilogram",
        ),
        Scene(
            ("A dairy blends {items}.", "A drink is blended from {items}."),
            "milk cream juice syrup honey tea cider cocoa",
            (_COST, _content("sugar"), _content("fat"), _content("calcium"), _content("iron")),
            (3, 4),
            (0, 1, 2),
            "used",
            "blend",
            ("Only whole liters can be used.", "Fractions of a liter cannot be used."),
            ("", "Any fraction of a liter can be used."),
            "liter",
        ),
    ),
    "staffing": (
        Scene(
            ("A hotel hires {items}.", "A ship hires {items}."),
            "cooks waiters cleaners guards drivers porters",
            (
                _COST,
                _output("serves", "guests served", "guest", "served"),
                Topic("needs", "training time", "hour", " of training", "given"),
                _output("works", "shifts worked", "shift", "worked", "<= >="),
            ),
            (1, 3),
            (0, 2),
            "hired",
            "people",
            ("Only whole people can be hired.", "Nobody can be hired in part."),
        ),
        Scene(
            ("A clinic hires {items}.", "A town hires {items}."),
            "nurses doctors clerks medics tutors helpers",
            (
                _COST,
                _output("sees", "patients seen", "patient", "seen"),
                Topic("needs", "training time", "hour", " of training", "given"),
                _output("answers", "calls answered", "call", "answered"),
                _output("works", "shifts worked", "shift", "worked", "<= >="),
            ),
            (1, 3),
            (0, 2),
            "hired",
            "people",
            ("Only whole people can be hired.", "Nobody can be hired in part."),
        ),
    ),
    "transport": (
        Scene(
            ("A firm moves goods by {items}.", "Grain is moved by {items}."),
            "trucks vans boats trains planes barges ships tankers",
            (
                _COST,
                Topic("carries", "load", "ton", use="moved"),
                Topic("burns", "fuel use", "liter", " of fuel", "burned"),
                _output("needs", "workers used", "worker", "used", "<= >="),
            ),
            (1,),
            (0, 2, 3),
            "sent",
            "vehicles",
            ("Only whole vehicles can be sent.", "A vehicle cannot be sent in part."),
        ),
    ),
    "selection": (
        Scene(
            ("A city may build {any}.", "A mayor chooses among {items}."),
            "bridge road park school library tunnel station museum pool clinic",
            (
                Topic("costs", "cost", "$ million", use="spent", senses="<="),
                _output("creates", "new jobs", "job", "created"),
                Topic("takes", "land use", "acre", " of land", senses="<="),
                _output("draws", "daily visitors", "visitor", "drawn"),
                Topic("needs", "building time", "month", " of work", "used"),
            ),
            (1, 3),
            (0, 2, 4),
            "built",
            "projects",
            ("Each project is built in full or not at all.", "No project can be built in part."),
            article="the",
        ),
        Scene(
            ("A student may take {any}.", "A student chooses among {items}."),
            "algebra physics history music chemistry biology drama logic",
            (
                Topic("takes", "weekly time", "hour", " of work", "spent"),
                _output("gives", "credits", "credit", "earned"),
                Topic("costs", "cost", use="spent", senses="<="),
                _output("has", "tests", "test", "taken", "<= >="),
            ),
            (1,),
            (0, 2, 3),
            "taken",
            "courses",
            ("Each course is taken in full or not at all.", "No course can be taken in part."),
            article="",
        ),
    ),
    "knapsack": (
        Scene(
            ("A hiker packs {items}.", "A scout fills a bag with {items}."),
            "tents ropes stoves torches pans knives blankets books",
            (_OUNCES, _SPACE, _output("brings", "points", "point", "collected"), _COST),
            (2,),
            (0, 1, 3),
            "packed",
            "items",
            ("Only whole items can be packed.", "Items cannot be cut into parts."),
        ),
        Scene(
            ("A trader packs {items}.", "A truck is filled with {items}."),
            "radios pumps drums mirrors clocks bikes carpets vases",
            (_WEIGHT, _SPACE, Topic("earns", "revenue", use="earned", senses=">="), _COST),
            (2,),
            (0, 1, 3),
            "packed",
            "items",
            ("Only whole items can be packed.", "Items cannot be cut into parts."),
        ),
    ),
}

SINGULARS = {
    "shelves": "shelf",
    "benches": "bench",
    "loaves": "loaf",
    "scarves": "scarf",
    "knives": "knife",
    "torches": "torch",
}
SOURCES, TARGETS = "mill farm mine plant depot".split(), "port shop hotel market store".split()
