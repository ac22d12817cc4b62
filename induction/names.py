"""Names of places and of persons of the past, for prompts that need entities: common knowledge, nobody's property."""

from __future__ import annotations


def one_each(text: str) -> tuple[str, ...]:
    """The words of a list, separated by commas, each of which may stand in it only once."""
    words = tuple(" ".join(word.split()) for word in text.split(",") if word.strip())
    if len(set(words)) < len(words):
        raise AssertionError(f"a word stands twice in: {text}")
    return words


CITIES = one_each(
    """
    Aberdeen, Abidjan, Adelaide, Aleppo, Alexandria, Algiers, Amsterdam, Antananarivo, Antwerp, Asunción, Baghdad,
    Bamako, Bangkok, Barcelona, Bilbao, Birmingham, Bogotá, Bologna, Brasília, Bratislava, Brisbane, Bucharest,
    Budapest, Cairo, Calgary, Caracas, Casablanca, Chisinau, Cologne, Copenhagen, Cordoba, Cusco, Dakar, Damascus,
    Dresden, Dubrovnik, Edinburgh, Fez, Florence, Freetown, Gdansk, Geneva, Ghent, Gothenburg, Granada, Guadalajara,
    Hamburg, Hanoi, Havana, Helsinki, Isfahan, Istanbul, Jakarta, Johannesburg, Kathmandu, Khartoum, Kinshasa, Krakow,
    Kyoto, Lausanne, Leipzig, Lhasa, Lisbon, Ljubljana, Luxembourg, Lviv, Madrid, Managua, Marrakesh, Marseille,
    Melbourne, Mogadishu, Mombasa, Montevideo, Montpellier, Mumbai, Nagasaki, Nairobi, Nantes, Naples, Nicosia,
    Nuremberg, Odessa, Osaka, Ouagadougou, Palermo, Paramaribo, Plovdiv, Podgorica, Porto, Prague, Pretoria, Quito,
    Ravenna, Reykjavik, Riga, Rotterdam, Salzburg, Samarkand, Santiago, Sarajevo, Seville, Singapore, Skopje,
    Stockholm, Strasbourg, Stuttgart, Tallinn, Tashkent, Tbilisi, Tegucigalpa, Tehran, Thessaloniki, Timbuktu,
    Toulouse, Trieste, Tripoli, Ulaanbaatar, Utrecht, Valencia, Valletta, Valparaíso, Venice, Vilnius, Wellington,
    Winnipeg, Yerevan, Zagreb, Zanzibar
    """
)
LANDS = one_each(
    """
    Aconcagua, Adirondack, Alsace, Amazonas, Anatolia, Andalusia, Annapurna, Ararat, Arkansas, Azerbaijan, Bavaria,
    Bering Strait, Bohemia, Bosporus, Botswana, Brahmaputra, Brittany, Burgundy, Cape Horn, Cappadocia, Catalonia,
    Caucasus, Chimborazo, Connecticut, Cornwall, Crimea, Dalmatia, Danube, Dardanelles, Dnieper, Dolomites, Euphrates,
    Flanders, Galicia, Gibraltar, Guadalquivir, Guatemala, Hebrides, Himalaya, Hindu Kush, Hokkaido, Iceland, Idaho,
    Indonesia, Irrawaddy, Jamaica, Jutland, Kalahari, Kamchatka, Karakoram, Kazakhstan, Kilimanjaro, Kyrgyzstan,
    Labrador, Lake Baikal, Lake Titicaca, Lapland, Liechtenstein, Limpopo, Lombardy, Macedonia, Madagascar, Manitoba,
    Massachusetts, Matterhorn, Mauritania, Mekong, Mesopotamia, Minnesota, Mississippi, Missouri, Mongolia, Moravia,
    Mozambique, Namibia, Nebraska, Newfoundland, Normandy, Okavango, Orinoco, Orkney, Palestine, Patagonia,
    Peloponnese, Pennsylvania, Piedmont, Polynesia, Pomerania, Popocatépetl, Provence, Pyrenees, Queensland,
    Rajasthan, Rhineland, Rio Grande, Sahara, Sardinia, Saskatchewan, Scandinavia, Schleswig, Senegal, Siberia,
    Sicily, Silesia, Slovenia, Somerset, Sumatra, Tanganyika, Tasmania, Tennessee, Thuringia, Tigris, Transylvania,
    Turkmenistan, Tuscany, Tyrol, Ukraine, Umbria, Uzbekistan, Vesuvius, Wallachia, Westphalia, Wisconsin, Wyoming,
    Yorkshire, Yucatán, Zambezi
    """
)
PERSONS = one_each(
    """
    Abraham Lincoln, Ada Lovelace, Agrippina, Alexander von Humboldt, Anaximander, Archimedes, Aristophanes,
    Aristotle, Artemisia Gentileschi, Averroes, Avicenna, Baruch Spinoza, Benjamin Franklin, Bernoulli, Boccaccio,
    Boudicca, Caravaggio, Catherine de Medici, Cervantes, Charlemagne, Charles Darwin, Charlotte Brontë,
    Christine de Pizan, Christopher Wren, Cicero, Cleopatra, Confucius, Copernicus, Cyrano de Bergerac,
    Dante Alighieri, Democritus, Denis Diderot, Diogenes, Edmond Halley, Eleanor of Aquitaine, Emily Dickinson,
    Empedocles, Epicurus, Erasmus, Eratosthenes, Euclid, Euripides, Evariste Galois, Fibonacci, Florence Nightingale,
    Francisco Goya, Franz Schubert, Frederick Douglass, Galileo Galilei, Genghis Khan, Geoffrey Chaucer,
    Giordano Bruno, Goethe, Gutenberg, Hammurabi, Hannibal, Harriet Tubman, Hatshepsut, Heraclitus, Herodotus,
    Hieronymus Bosch, Hildegard of Bingen, Hippocrates, Hokusai, Horace, Hypatia, Ibn Battuta, Immanuel Kant,
    Isaac Newton, Jane Austen, Joan of Arc, Johann Sebastian Bach, Johannes Kepler, John Milton, Julius Caesar,
    Justinian, Kublai Khan, Leibniz, Leonardo da Vinci, Leonhard Euler, Livy, Lucretius, Ludwig van Beethoven,
    Machiavelli, Magellan, Marco Polo, Marcus Aurelius, Maria Theresa, Marie Antoinette, Mary Shelley,
    Mary Wollstonecraft, Michael Faraday, Michelangelo, Montaigne, Montesquieu, Mozart, Nebuchadnezzar, Nefertiti,
    Niccolò Paganini, Nikolai Gogol, Omar Khayyam, Ovid, Paracelsus, Parmenides, Petrarch, Pherecydes, Plutarch,
    Pythagoras, Rabelais, Ramesses, René Descartes, Robespierre, Rousseau, Rumi, Saladin, Sappho, Scheherazade,
    Schopenhauer, Seneca, Simón Bolívar, Socrates, Solomon, Sophocles, Spartacus, Sun Tzu, Tacitus, Tamerlane, Thales,
    Themistocles, Thucydides, Tintoretto, Titian, Torquato Tasso, Tutankhamun, Tycho Brahe, Velázquez, Vercingetorix,
    Vermeer, Virgil, Vitruvius, Voltaire, Wallenstein, William Blake, Xenophon, Xerxes, Zarathustra, Zoroaster
    """
)
PLACES = (*CITIES, *LANDS)
NAMES = (*PLACES, *PERSONS)
