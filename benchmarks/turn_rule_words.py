# ruff: noqa: RUF001 - letters of other alphabets
"""What a turn does not end with: words that others follow, and fillers, in 14 languages."""

WORDS = {
    "en": "a an the and or but so because if that which who when where while than as of to "
    "in on at for from with by about into my your his her its our their is are am was "
    "were be been i'm it's i we he she they do does did can could will would should "
    "has have had i'd i'll like um uh umm er hmm very",
    "es": "el la los las un una unos unas y e o u pero porque que si cuando como donde de "
    "del a al en con por para sin sobre mi tu su mis sus es son era muy más no eh "
    "este pues sea me se le lo",
    "fr": "le la les un une des du de d' l' et ou mais donc car parce que qui si quand "
    "comme à au aux en dans sur avec pour par sans mon ma mes ton ta votre vos notre "
    "est sont je j' tu il elle on nous ne très euh ben alors c'est ce cette",
    "de": "der die das den dem des ein eine einen einem einer und oder aber weil dass ob "
    "wenn als wie zu in im am an auf aus bei mit nach von vom zum zur für über um "
    "mein meine meinen dein ihr ihre ich du er es wir sie ist sind war sehr äh ähm "
    "also denn nicht",
    "it": "il lo la i gli le un uno una e o ma perché che se quando come dove di del della "
    "dei a al alla in nel nella con per da dal su sul mio mia tuo sua è sono era "
    "molto non ehm eh allora cioè mi si",
    "pt": "o a os as um uma uns umas e ou mas porque que se quando como onde de do da dos "
    "das em no na com por para pelo pela sem meu minha seu sua é são era muito não eh "
    "então hum eu me",
    "nl": "de het een en of maar omdat dat die als wanneer want van in op aan met voor naar "
    "bij uit om te door over mijn jouw uw zijn haar ik je hij ze we is ben was heel "
    "eh uh dus nog niet",
    "ko": "그리고 그래서 그런데 하지만 또는 근데 왜냐하면 만약 그 이 저 음 어 제 내 우리 한 두 더",
    "id": "yang dan atau tapi tetapi karena kalau jika bahwa untuk dari di ke dengan pada "
    "oleh saya kamu dia ini itu adalah akan bisa mau ingin sangat tidak eh anu jadi "
    "sebuah seorang",
    "tr": "ve veya ya ama fakat çünkü ki eğer ile için bir bu şu o gibi kadar daha çok en "
    "benim senin şey ıı hani yani de da",
    "ru": "и или но а потому что чтобы если когда как где который которая в во на с со к ко "
    "у о об от до из за по для при без не ни мой моя мне меня я ты он она мы очень эм "
    "ну это бы",
    "hi": "और या लेकिन मगर क्योंकि कि अगर जब जो का की के को से में पर ने तक लिए एक यह वह "
    "मेरा मेरी मेरे आपका बहुत मैं हम वो तो मतलब उम",
}
"""The last word, by language."""
ENDINGS = {
    "ja": "は が を に で と の も や から けど ので て って とか えーと えっと あの その",
    "zh": "的 和 跟 在 把 被 给 对 从 到 是 我 你 他 她 很 不 一 这 那 但是 因为 所以 如果 还有 "
    "或者 就是 嗯 呃 那个 一个 想 要",
    "ko": "은 는 을 를 에 에서 의 와 과 로 으로 하고 이랑 랑 지만 는데 은데 니까 아서 어서 면 려고",
}
"""How the text ends, where words are not apart or carry what follows them in other languages."""
