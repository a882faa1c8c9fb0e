"""The languages that Whisper hears, as people may name them: by code, by English name, or by another English name."""

import difflib
import re

from data.errors import InputError

NAMED = """
en=english zh=chinese,mandarin de=german es=spanish,castilian ru=russian ko=korean fr=french ja=japanese pt=portuguese
tr=turkish pl=polish ca=catalan,valencian nl=dutch,flemish ar=arabic sv=swedish it=italian id=indonesian hi=hindi fi=finnish
vi=vietnamese he=hebrew uk=ukrainian el=greek ms=malay cs=czech ro=romanian,moldavian,moldovan da=danish hu=hungarian
ta=tamil no=norwegian th=thai ur=urdu hr=croatian bg=bulgarian lt=lithuanian la=latin mi=maori ml=malayalam cy=welsh
sk=slovak te=telugu fa=persian lv=latvian bn=bengali sr=serbian az=azerbaijani sl=slovenian kn=kannada et=estonian
mk=macedonian br=breton eu=basque is=icelandic hy=armenian ne=nepali mn=mongolian bs=bosnian kk=kazakh sq=albanian
sw=swahili gl=galician mr=marathi pa=punjabi,panjabi si=sinhala,sinhalese km=khmer sn=shona yo=yoruba so=somali af=afrikaans
oc=occitan ka=georgian be=belarusian tg=tajik sd=sindhi gu=gujarati am=amharic yi=yiddish lo=lao uz=uzbek fo=faroese
ht=haitian_creole,haitian ps=pashto,pushto tk=turkmen nn=nynorsk mt=maltese sa=sanskrit lb=luxembourgish,letzeburgesch
my=myanmar,burmese bo=tibetan tl=tagalog mg=malagasy as=assamese tt=tatar haw=hawaiian ln=lingala ha=hausa ba=bashkir
jw=javanese su=sundanese yue=cantonese
"""
LANGUAGES: dict[str, tuple[str, ...]] = {
    code: tuple(name.replace("_", " ") for name in names.split(",")) for code, names in (one.split("=") for one in NAMED.split())
}
"""English names by code, in the order in which Whisper's networks know them: smaller ones know the first 99."""


def code_of(language: str) -> str:
    """The code of a language given as code (en, en-US) or English name; InputError, with the nearest, for one Whisper lacks."""
    given = re.sub(r"^([a-z]{2})[-_][a-z]{2}$", r"\1", language.strip().lower())  # en-US
    codes = {name: code for code, names in LANGUAGES.items() for name in (code, *names)}
    if given not in codes:
        nearest = [f"'{name}'" for name in difflib.get_close_matches(given, [name for name in codes if len(name) > 3], 2, 0.7)]
        asked = f"; did you mean {' or '.join(nearest)}? Give" if nearest else ": give"
        raise InputError(
            f"Whisper knows no language '{language}'{asked} a code (en, de, pl) or an English name, or leave it empty to have it "
            "found."
        )
    return codes[given]
