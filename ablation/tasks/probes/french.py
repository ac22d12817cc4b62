"""Words of everyday life in French, Spanish, German or Italian."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half, table

RULES = ("French", "Spanish", "German", "Italian")
# English, French, Spanish, German, Italian; words that two of the languages share are left out.
WORDS = table(
    """
    dog, chien, perro, Hund, cane
    cat, chat, gato, Katze, gatto
    horse, cheval, caballo, Pferd, cavallo
    bird, oiseau, pájaro, Vogel, uccello
    fish, poisson, pez, Fisch, pesce
    cow, vache, vaca, Kuh, mucca
    sheep, mouton, oveja, Schaf, pecora
    pig, cochon, cerdo, Schwein, maiale
    mouse, souris, ratón, Maus, topo
    bear, ours, oso, Bär, orso
    rabbit, lapin, conejo, Kaninchen, coniglio
    egg, œuf, huevo, Ei, uovo
    milk, lait, leche, Milch, latte
    bread, pain, pan, Brot, pane
    cheese, fromage, queso, Käse, formaggio
    water, eau, agua, Wasser, acqua
    beer, bière, cerveza, Bier, birra
    apple, pomme, manzana, Apfel, mela
    strawberry, fraise, fresa, Erdbeere, fragola
    cherry, cerise, cereza, Kirsche, ciliegia
    lemon, citron, limón, Zitrone, limone
    garlic, ail, ajo, Knoblauch, aglio
    onion, oignon, cebolla, Zwiebel, cipolla
    salt, sel, sal, Salz, sale
    sugar, sucre, azúcar, Zucker, zucchero
    tree, arbre, árbol, Baum, albero
    flower, fleur, flor, Blume, fiore
    leaf, feuille, hoja, Blatt, foglia
    grass, herbe, hierba, Gras, erba
    forest, forêt, bosque, Wald, foresta
    mountain, montagne, montaña, Berg, montagna
    river, rivière, río, Fluss, fiume
    sea, mer, mar, Meer, mare
    island, île, isla, Insel, isola
    beach, plage, playa, Strand, spiaggia
    star, étoile, estrella, Stern, stella
    sun, soleil, sol, Sonne, sole
    rain, pluie, lluvia, Regen, pioggia
    snow, neige, nieve, Schnee, neve
    fire, feu, fuego, Feuer, fuoco
    stone, pierre, piedra, Stein, pietra
    iron, fer, hierro, Eisen, ferro
    silver, argent, plata, Silber, argento
    wood, bois, madera, Holz, legno
    glass, verre, vidrio, Glas, vetro
    letter, lettre, carta, Brief, lettera
    word, mot, palabra, Wort, parola
    door, porte, puerta, Tür, porta
    window, fenêtre, ventana, Fenster, finestra
    table, table, mesa, Tisch, tavolo
    chair, chaise, silla, Stuhl, sedia
    bed, lit, cama, Bett, letto
    key, clé, llave, Schlüssel, chiave
    knife, couteau, cuchillo, Messer, coltello
    fork, fourchette, tenedor, Gabel, forchetta
    spoon, cuillère, cuchara, Löffel, cucchiaio
    bottle, bouteille, botella, Flasche, bottiglia
    plate, assiette, plato, Teller, piatto
    kitchen, cuisine, cocina, Küche, cucina
    street, rue, calle, Straße, strada
    city, ville, ciudad, Stadt, città
    church, église, iglesia, Kirche, chiesa
    school, école, escuela, Schule, scuola
    bridge, pont, puente, Brücke, ponte
    car, voiture, coche, Auto, macchina
    train, train, tren, Zug, treno
    ship, bateau, barco, Schiff, nave
    bicycle, vélo, bicicleta, Fahrrad, bicicletta
    wheel, roue, rueda, Rad, ruota
    friend, ami, amigo, Freund, amico
    brother, frère, hermano, Bruder, fratello
    sister, sœur, hermana, Schwester, sorella
    son, fils, hijo, Sohn, figlio
    daughter, fille, hija, Tochter, figlia
    child, enfant, niño, Kind, bambino
    woman, femme, mujer, Frau, donna
    man, homme, hombre, Mann, uomo
    king, roi, rey, König, re
    queen, reine, reina, Königin, regina
    head, tête, cabeza, Kopf, testa
    eye, œil, ojo, Auge, occhio
    ear, oreille, oreja, Ohr, orecchio
    mouth, bouche, boca, Mund, bocca
    tongue, langue, lengua, Zunge, lingua
    heart, cœur, corazón, Herz, cuore
    leg, jambe, pierna, Bein, gamba
    foot, pied, pie, Fuß, piede
    bone, os, hueso, Knochen, osso
    blood, sang, sangre, Blut, sangue
    night, nuit, noche, Nacht, notte
    day, jour, día, Tag, giorno
    week, semaine, semana, Woche, settimana
    year, année, año, Jahr, anno
    autumn, automne, otoño, Herbst, autunno
    money, argent, dinero, Geld, denaro
    work, travail, trabajo, Arbeit, lavoro
    game, jeu, juego, Spiel, gioco
    dream, rêve, sueño, Traum, sogno
    white, blanc, blanco, weiß, bianco
    black, noir, negro, schwarz, nero
    """,
    5,
)


def items(split: str) -> list[Item]:
    """Half of the words."""
    return [Item(english, tuple(foreign)) for english, *foreign in half(WORDS, split, "french")]
