"""The words of the client's summary in English, Spanish, French and German, and dates in words. Pure data and its reading.

The client is addressed politely (usted, vous, Sie), in short sentences. What people entered is never translated. A word that the
tables do not hold is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

LANGUAGES = ("en", "es", "fr", "de")

Row = tuple[str, str, str, str]
"""One phrase in the order of ``LANGUAGES``."""

PHRASES: Mapping[str, Row] = {
    "title": ("Your plan", "Su plan", "Votre plan", "Ihr Plan"),
    "title-for": ("The plan of {name}", "El plan de {name}", "Le plan de {name}", "Der Plan von {name}"),
    # what you said
    "own": ("In your own words", "En sus propias palabras", "Avec vos propres mots", "In Ihren eigenen Worten"),
    "want": ("You want: “{text}”", "Usted quiere: «{text}»", "Vous voulez : « {text} »", "Sie möchten: „{text}“"),
    "want-by": (
        "You want: “{text}”. You plan to get there by {day}.",
        "Usted quiere: «{text}». Piensa lograrlo hasta el {day}.",
        "Vous voulez : « {text} ». Vous pensez y arriver d’ici le {day}.",
        "Sie möchten: „{text}“. Das wollen Sie bis {day} schaffen.",
    ),
    "wanted": (
        "You wanted: “{text}”. You have done it.",
        "Usted quería: «{text}». Lo ha logrado.",
        "Vous vouliez : « {text} ». Vous avez réussi.",
        "Sie wollten: „{text}“. Das haben Sie geschafft.",
    ),
    "matters": (
        "This matters to you: {text}",
        "Esto es importante para usted: {text}",
        "C’est important pour vous : {text}",
        "Das ist Ihnen wichtig: {text}",
    ),
    "strong": (
        "You say this helps you: {text}",
        "Usted dice que esto le ayuda: {text}",
        "Vous dites que cela vous aide : {text}",
        "Sie sagen, das hilft Ihnen: {text}",
    ),
    "seen": (
        "We see this strength: {text}",
        "Vemos esta fortaleza: {text}",
        "Nous voyons cette force : {text}",
        "Wir sehen diese Stärke: {text}",
    ),
    "own-none": (
        "We have not written down your own wishes yet. Please tell us what you want.",
        "Todavía no hemos anotado sus propios deseos. Por favor, díganos qué quiere.",
        "Nous n’avons pas encore noté vos propres souhaits. Dites-nous ce que vous voulez.",
        "Ihre eigenen Wünsche haben wir noch nicht aufgeschrieben. Bitte sagen Sie uns, was Sie möchten.",
    ),
    # who looks after you
    "who": ("Who helps you", "Quién le ayuda", "Qui vous aide", "Wer Ihnen hilft"),
    "owner": (
        "{name} looks after your plan. You can ask {name} anything.",
        "{name} se ocupa de su plan. Puede preguntarle lo que quiera.",
        "{name} s’occupe de votre plan. Vous pouvez lui poser toutes vos questions.",
        "{name} kümmert sich um Ihren Plan. Fragen Sie {name} alles, was Sie wissen möchten.",
    ),
    "cover": (
        "{name} looks after your plan for now, while your case manager is away.",
        "{name} se ocupa de su plan por ahora, mientras su persona de contacto está ausente.",
        "{name} s’occupe de votre plan pour le moment, pendant l’absence de votre personne de référence.",
        "{name} kümmert sich zurzeit um Ihren Plan, während Ihre Ansprechperson nicht da ist.",
    ),
    "owner-none": (
        "We will tell you who looks after your plan.",
        "Le diremos quién se ocupa de su plan.",
        "Nous vous dirons qui s’occupe de votre plan.",
        "Wir sagen Ihnen noch, wer sich um Ihren Plan kümmert.",
    ),
    "member": ("{name}: {role}", "{name}: {role}", "{name} : {role}", "{name}: {role}"),
    "call": ("Phone: {number}", "Teléfono: {number}", "Téléphone : {number}", "Telefon: {number}"),
    # what is planned
    "planned": ("What is planned", "Qué está previsto", "Ce qui est prévu", "Was geplant ist"),
    "service": ("{what}", "{what}", "{what}", "{what}"),
    "service-from": ("{what}, from {day}", "{what}, a partir del {day}", "{what}, à partir du {day}", "{what}, ab {day}"),
    "alone": (
        "You do this yourself: {what}",
        "Esto lo hace usted: {what}",
        "Vous faites cela vous-même : {what}",
        "Das machen Sie selbst: {what}",
    ),
    "choice": (
        "You can choose: {what}. You can say yes or no.",
        "Usted puede elegir: {what}. Puede decir sí o no.",
        "Vous avez le choix : {what}. Vous pouvez dire oui ou non.",
        "Sie haben die Wahl: {what}. Sie können Ja oder Nein sagen.",
    ),
    "also": (
        "We also work on: {text}",
        "También trabajamos en: {text}",
        "Nous travaillons aussi sur : {text}",
        "Wir arbeiten auch daran: {text}",
    ),
    "planned-none": (
        "Nothing is arranged yet.",
        "Todavía no hay nada organizado.",
        "Rien n’est encore organisé.",
        "Es ist noch nichts vereinbart.",
    ),
    # what comes next
    "next": ("What comes next", "Qué viene ahora", "Ce qui vient ensuite", "Was als Nächstes kommt"),
    "on": ("{day}: {what}", "{day}: {what}", "{day} : {what}", "{day}: {what}"),
    "appointment": ("Appointment", "Cita", "Rendez-vous", "Termin"),
    "contact": (
        "We will be in touch with you",
        "Nos pondremos en contacto con usted",
        "Nous prendrons contact avec vous",
        "Wir melden uns bei Ihnen",
    ),
    "next-none": (
        "No date is set yet.",
        "Todavía no hay ninguna fecha.",
        "Aucune date n’est encore fixée.",
        "Es steht noch kein Termin fest.",
    ),
    # crisis
    "crisis": ("If things get bad", "Si las cosas se ponen mal", "Si cela va mal", "Wenn es Ihnen schlecht geht"),
    "emergency": (
        "If you are in danger, call the emergency number at once.",
        "Si está en peligro, llame de inmediato al número de emergencias.",
        "Si vous êtes en danger, appelez tout de suite le numéro d’urgence.",
        "Wenn Sie in Gefahr sind, rufen Sie sofort den Notruf an.",
    ),
    "agreed": (
        "This is what we agreed: {text}",
        "Esto es lo que acordamos: {text}",
        "Voici ce que nous avons convenu : {text}",
        "Das haben wir vereinbart: {text}",
    ),
    "signs": ("Your warning signs: {text}", "Sus señales de alerta: {text}", "Vos signes d’alerte : {text}", "Ihre Warnzeichen: {text}"),
    "do": ("Do this: {text}", "Haga esto: {text}", "Faites ceci : {text}", "Tun Sie das: {text}"),
    "never": ("Do not do this: {text}", "No haga esto: {text}", "Ne faites pas ceci : {text}", "Tun Sie das nicht: {text}"),
    "ask-crisis": (
        "Then call {name}.",
        "Después, llame a {name}.",
        "Appelez ensuite {name}.",
        "Rufen Sie danach an: {name}.",
    ),
    "language": (
        "This page is in English. Ask us if you need another language.",
        "Esta página está en español. Díganos si necesita otro idioma.",
        "Cette page est en français. Dites-nous si vous avez besoin d’une autre langue.",
        "Diese Seite ist auf Deutsch. Sagen Sie uns, wenn Sie eine andere Sprache brauchen.",
    ),
    "at": ("{day} at {time}", "{day} a las {time}", "{day} à {time}", "{day} um {time} Uhr"),
    "at-one": ("{day} at {time}", "{day} a la {time}", "{day} à {time}", "{day} um {time} Uhr"),
}

SERVICES: Mapping[str, Row] = {
    "home-health": ("Health care at home", "Atención de salud en casa", "Soins de santé à domicile", "Häusliche Krankenpflege"),
    "home-nursing": ("A nurse at home", "Enfermería en casa", "Soins infirmiers à domicile", "Pflege zu Hause"),
    "personal-care": (
        "Help with washing and dressing",
        "Ayuda para asearse y vestirse",
        "Aide pour se laver et s’habiller",
        "Hilfe beim Waschen und Anziehen",
    ),
    "physical-therapy": (
        "Exercises to move better (physical therapy)",
        "Ejercicios para moverse mejor (fisioterapia)",
        "Exercices pour mieux bouger (kinésithérapie)",
        "Übungen für die Beweglichkeit (Physiotherapie)",
    ),
    "occupational-therapy": (
        "Practice for everyday tasks (occupational therapy)",
        "Práctica de tareas diarias (terapia ocupacional)",
        "Entraînement aux gestes du quotidien (ergothérapie)",
        "Üben für den Alltag (Ergotherapie)",
    ),
    "speech-therapy": (
        "Help with speaking and swallowing (speech therapy)",
        "Ayuda para hablar y tragar (logopedia)",
        "Aide pour parler et avaler (orthophonie)",
        "Hilfe beim Sprechen und Schlucken (Logopädie)",
    ),
    "rehabilitation": ("Rehabilitation", "Rehabilitación", "Rééducation", "Rehabilitation"),
    "equipment": ("Equipment for home", "Equipo para la casa", "Matériel pour la maison", "Hilfsmittel für zu Hause"),
    "home-modification": (
        "Changes to make your home safe",
        "Cambios para que su casa sea segura",
        "Aménagements pour sécuriser votre logement",
        "Umbauten für ein sicheres Zuhause",
    ),
    "food-bank": (
        "Food from the food bank",
        "Alimentos del banco de alimentos",
        "Aide de la banque alimentaire",
        "Lebensmittel von der Tafel",
    ),
    "meals": ("Meals brought to your home", "Comidas a domicilio", "Repas livrés à domicile", "Essen auf Rädern"),
    "transport": ("Rides", "Transporte", "Transport", "Fahrdienst"),
    "nutrition": ("Advice on eating", "Consejos de alimentación", "Conseils sur l’alimentation", "Ernährungsberatung"),
    "counselling": ("Talking with a counsellor", "Conversaciones con un consejero", "Entretiens avec un conseiller", "Beratungsgespräche"),
    "skills-training": (
        "Learning new skills",
        "Aprender nuevas habilidades",
        "Apprendre de nouvelles compétences",
        "Neue Fähigkeiten lernen",
    ),
    "support-group": (
        "A group of people in a similar situation",
        "Un grupo de personas en una situación parecida",
        "Un groupe de personnes dans une situation semblable",
        "Eine Gruppe von Menschen in ähnlicher Lage",
    ),
    "aftercare": ("Support after treatment", "Apoyo después del tratamiento", "Suivi après le traitement", "Nachsorge"),
    "recovery-program": (
        "A recovery program",
        "Un programa de recuperación",
        "Un programme de rétablissement",
        "Ein Programm zur Genesung",
    ),
    "housing": (
        "Help to find or keep a home",
        "Ayuda para encontrar o conservar una vivienda",
        "Aide pour trouver ou garder un logement",
        "Hilfe, eine Wohnung zu finden oder zu behalten",
    ),
    "employment-support": (
        "Help to find work",
        "Ayuda para encontrar trabajo",
        "Aide pour trouver un emploi",
        "Hilfe bei der Arbeitssuche",
    ),
    "career-support": ("Help with your career", "Ayuda con su carrera laboral", "Aide pour votre carrière", "Hilfe für Ihren Berufsweg"),
    "legal-help": ("Legal advice", "Asesoría legal", "Conseil juridique", "Rechtsberatung"),
    "legal-representation": (
        "A lawyer who speaks for you",
        "Un abogado que le represente",
        "Un avocat qui vous représente",
        "Ein Anwalt, der Sie vertritt",
    ),
    "financial-help": ("Help with money", "Ayuda económica", "Aide financière", "Finanzielle Hilfe"),
    "benefits": (
        "Help to get benefits",
        "Ayuda para obtener prestaciones",
        "Aide pour obtenir des prestations",
        "Hilfe beim Beantragen von Leistungen",
    ),
    "education": (
        "Learning about your health",
        "Aprender sobre su salud",
        "Mieux comprendre votre santé",
        "Mehr über Ihre Gesundheit lernen",
    ),
    "primary-care-follow-up": (
        "A visit to your family doctor",
        "Una visita a su médico de cabecera",
        "Une visite chez votre médecin de famille",
        "Ein Termin bei Ihrer Hausarztpraxis",
    ),
    "specialist-follow-up": (
        "A visit to a specialist",
        "Una visita a un especialista",
        "Une visite chez un spécialiste",
        "Ein Termin in einer Facharztpraxis",
    ),
    "medication-review": (
        "A check of your medicines",
        "Una revisión de sus medicamentos",
        "Une vérification de vos médicaments",
        "Eine Prüfung Ihrer Medikamente",
    ),
    "respite": (
        "Time off for those who care for you",
        "Descanso para quienes le cuidan",
        "Du répit pour vos proches aidants",
        "Entlastung für die, die Sie pflegen",
    ),
    "hospice": ("Hospice care", "Cuidados de hospicio", "Soins en maison de fin de vie (hospice)", "Hospizbetreuung"),
    "palliative-care": (
        "Care to ease pain and worry",
        "Cuidados para aliviar el dolor y la angustia",
        "Soins pour soulager la douleur et l’inquiétude",
        "Versorgung, die Schmerzen und Sorgen lindert",
    ),
    "telemonitoring": (
        "A check of your health from afar",
        "Control de su salud a distancia",
        "Suivi de votre santé à distance",
        "Überwachung Ihrer Gesundheit aus der Ferne",
    ),
    "case-management": (
        "Help to keep everything together",
        "Ayuda para coordinar todo",
        "Aide pour tout coordonner",
        "Hilfe, alles zu ordnen",
    ),
    "care-coordination": (
        "Help to keep your care together",
        "Ayuda para coordinar su atención",
        "Aide pour coordonner vos soins",
        "Hilfe, Ihre Versorgung zu ordnen",
    ),
    "childcare": ("Child care", "Cuidado de niños", "Garde d’enfants", "Kinderbetreuung"),
    "mentoring": ("A mentor", "Un mentor", "Un mentor", "Begleitung durch einen Mentor"),
    "crisis-intervention": (
        "Fast help in a crisis",
        "Ayuda rápida en una crisis",
        "Aide rapide en cas de crise",
        "Schnelle Hilfe in einer Krise",
    ),
    "skilled-nursing": ("Nursing care", "Cuidados de enfermería", "Soins infirmiers", "Fachpflege"),
    "dialysis": ("Dialysis", "Diálisis", "Dialyse", "Dialyse"),
    "wound-care": ("Care of your wound", "Cuidado de su herida", "Soins de votre plaie", "Versorgung Ihrer Wunde"),
    "chemotherapy": ("Chemotherapy", "Quimioterapia", "Chimiothérapie", "Chemotherapie"),
}

EQUIPMENT: Mapping[str, Row] = {
    "wheelchair": ("Wheelchair", "Silla de ruedas", "Fauteuil roulant", "Rollstuhl"),
    "power-wheelchair": ("Electric wheelchair", "Silla de ruedas eléctrica", "Fauteuil roulant électrique", "Elektrorollstuhl"),
    "walker": ("Walker", "Andador", "Déambulateur", "Gehgestell"),
    "cane": ("Walking stick", "Bastón", "Canne", "Gehstock"),
    "crutches": ("Crutches", "Muletas", "Béquilles", "Krücken"),
    "hospital-bed": ("Hospital bed", "Cama de hospital", "Lit médicalisé", "Pflegebett"),
    "commode": ("Toilet chair", "Silla con inodoro", "Chaise percée", "Toilettenstuhl"),
    "shower-chair": ("Shower chair", "Silla para la ducha", "Chaise de douche", "Duschstuhl"),
    "raised-toilet-seat": ("Raised toilet seat", "Asiento elevado para el inodoro", "Rehausseur de toilettes", "Toilettensitzerhöhung"),
    "grab-bars": ("Grab bars", "Barras de apoyo", "Barres d’appui", "Haltegriffe"),
    "hoist": ("Hoist", "Grúa para personas", "Lève-personne", "Personenlifter"),
    "oxygen": ("Oxygen", "Oxígeno", "Oxygène", "Sauerstoff"),
    "cpap": (
        "Breathing machine for the night",
        "Aparato para respirar de noche",
        "Appareil respiratoire pour la nuit",
        "Atemgerät für die Nacht",
    ),
    "glucose-meter": ("Blood sugar meter", "Medidor de azúcar en la sangre", "Lecteur de glycémie", "Blutzuckermessgerät"),
    "blood-pressure-monitor": ("Blood pressure monitor", "Tensiómetro", "Tensiomètre", "Blutdruckmessgerät"),
    "pulse-oximeter": (
        "Oxygen meter for the finger",
        "Medidor de oxígeno para el dedo",
        "Oxymètre de doigt",
        "Sauerstoffmessgerät für den Finger",
    ),
    "hearing-aid": ("Hearing aid", "Audífono", "Appareil auditif", "Hörgerät"),
    "prosthesis": ("Artificial limb", "Prótesis", "Prothèse", "Prothese"),
    "orthosis": ("Brace", "Férula", "Orthèse", "Orthese"),
    "ramp": ("Ramp", "Rampa", "Rampe d’accès", "Rampe"),
    "emergency-response": ("Emergency button", "Botón de emergencia", "Bouton d’appel d’urgence", "Hausnotruf"),
    "communication-aid": ("Aid to communicate", "Ayuda para comunicarse", "Aide à la communication", "Kommunikationshilfe"),
    "infusion-pump": ("Infusion pump", "Bomba de infusión", "Pompe à perfusion", "Infusionspumpe"),
    "feeding-pump": ("Feeding pump", "Bomba de alimentación", "Pompe d’alimentation", "Ernährungspumpe"),
    "wound-supplies": ("Supplies for your wound", "Material para su herida", "Matériel pour votre plaie", "Material für Ihre Wunde"),
    "incontinence-supplies": ("Pads and protection", "Compresas y protectores", "Protections absorbantes", "Einlagen und Schutzhosen"),
}

ROLES: Mapping[str, Row] = {
    "case-manager": ("your case manager", "su persona de contacto", "votre personne de référence", "Ihre Ansprechperson"),
    "care-coordinator": ("care coordination", "coordinación de la atención", "coordination des soins", "Koordination der Versorgung"),
    "primary-care": ("family doctor", "medicina de cabecera", "médecine de famille", "Hausarztpraxis"),
    "physician": ("doctor", "medicina", "médecine", "Arztpraxis"),
    "attending": ("doctor in charge", "medicina a cargo", "médecine responsable", "ärztlich verantwortlich"),
    "nurse": ("nursing", "enfermería", "soins infirmiers", "Pflege"),
    "social-worker": ("social work", "trabajo social", "travail social", "Sozialarbeit"),
    "physical-therapist": ("physical therapy", "fisioterapia", "kinésithérapie", "Physiotherapie"),
    "occupational-therapist": ("occupational therapy", "terapia ocupacional", "ergothérapie", "Ergotherapie"),
    "speech-therapist": ("speech therapy", "logopedia", "orthophonie", "Logopädie"),
    "dietitian": ("advice on eating", "alimentación", "alimentation", "Ernährungsberatung"),
    "pharmacist": ("pharmacy", "farmacia", "pharmacie", "Apotheke"),
    "psychologist": ("psychology", "psicología", "psychologie", "Psychologie"),
    "caregiver": ("cares for you", "le cuida", "prend soin de vous", "sorgt für Sie"),
    "interpreter": ("interpreter", "interpretación", "interprétariat", "Dolmetschen"),
    "guardian": ("guardian", "tutela", "tutelle", "rechtliche Betreuung"),
    "family": ("family", "familia", "famille", "Familie"),
    "home-health-aide": ("help at home", "ayuda en casa", "aide à domicile", "Hilfe zu Hause"),
    "counselor": ("counselling", "consejería", "conseil et soutien", "Beratung"),
    "peer-support": ("peer support", "apoyo entre iguales", "soutien par les pairs", "Peer-Begleitung"),
    "legal-advocate": ("legal help", "ayuda legal", "aide juridique", "Rechtshilfe"),
    "housing-navigator": ("help with housing", "ayuda con la vivienda", "aide au logement", "Hilfe bei der Wohnungssuche"),
    "employment-specialist": ("help with work", "ayuda con el trabajo", "aide à l’emploi", "Hilfe bei der Arbeit"),
    "probation-officer": ("probation", "libertad condicional", "probation", "Bewährungshilfe"),
    "teacher": ("teacher", "enseñanza", "enseignement", "Schule"),
    "payer": ("insurance", "seguro", "assurance", "Versicherung"),
    "cover": ("stands in", "sustitución", "remplacement", "Vertretung"),
    "receiving-setting": ("cares for you now", "le atiende ahora", "vous prend en charge", "versorgt Sie jetzt"),
    "sending-setting": ("cared for you before", "le atendió antes", "vous a pris en charge avant", "hat Sie vorher versorgt"),
}

_WEEKDAYS: tuple[tuple[str, ...], ...] = (
    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
)
_MONTHS: tuple[tuple[str, ...], ...] = (
    ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"),
    ("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"),
    ("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"),
)


def say(language: str, key: str, **values: str) -> str:
    """One phrase. Raises KeyError for a phrase or language that there is not: a defect of ours."""
    return PHRASES[key][LANGUAGES.index(language)].format(**values)


def named(language: str, table: Mapping[str, Row], code: str) -> str:
    """The word for a code; the code itself, readable, where the table has none."""
    row = table.get(code)
    return row[LANGUAGES.index(language)] if row else code.replace("-", " ")


def day(language: str, when: date) -> str:
    """A day in words: ``Sunday, December 6, 2026``, ``domingo 6 de diciembre de 2026``, ``dimanche 6 décembre 2026``, ``Sonntag,
    6. Dezember 2026``."""
    at = LANGUAGES.index(language)
    weekday, month = _WEEKDAYS[at][when.weekday()], _MONTHS[at][when.month - 1]
    match language:
        case "es":
            return f"{weekday} {when.day} de {month} de {when.year}"
        case "fr":
            return f"{weekday} {'1er' if when.day == 1 else when.day} {month} {when.year}"
        case "de":
            return f"{weekday}, {when.day}. {month} {when.year}"
        case _:
            return f"{weekday}, {month} {when.day}, {when.year}"


def moment(language: str, when: datetime) -> str:
    """A day in words with the time of day as people there write it."""
    match language:
        case "en":
            time = f"{when.hour % 12 or 12}:{when.minute:02d} {'am' if when.hour < 12 else 'pm'}"
        case "fr":
            time = f"{when.hour} h {when.minute:02d}" if when.minute else f"{when.hour} h"
        case "es":
            time = f"{when.hour}:{when.minute:02d}"
        case _:
            time = f"{when.hour}.{when.minute:02d}" if when.minute else str(when.hour)
    return say(language, "at-one" if when.hour == 1 else "at", day=day(language, when.date()), time=time)
