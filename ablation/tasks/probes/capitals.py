"""Countries: the capital, the continent, the adjective, or the name again."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half, table

RULES = ("capital", "continent", "adjective", "unchanged")
CONTINENTS = {"E": "Europe", "A": "Asia", "F": "Africa", "N": "North America", "S": "South America"}
# Country, capital, continent, adjective. Countries on two continents or with a disputed capital are left out.
COUNTRIES = table(
    """
    France, Paris, E, French
    Germany, Berlin, E, German
    Italy, Rome, E, Italian
    Spain, Madrid, E, Spanish
    Portugal, Lisbon, E, Portuguese
    Greece, Athens, E, Greek
    Poland, Warsaw, E, Polish
    Austria, Vienna, E, Austrian
    Hungary, Budapest, E, Hungarian
    Sweden, Stockholm, E, Swedish
    Norway, Oslo, E, Norwegian
    Denmark, Copenhagen, E, Danish
    Finland, Helsinki, E, Finnish
    Iceland, Reykjavik, E, Icelandic
    Ireland, Dublin, E, Irish
    Belgium, Brussels, E, Belgian
    Switzerland, Bern, E, Swiss
    Romania, Bucharest, E, Romanian
    Bulgaria, Sofia, E, Bulgarian
    Serbia, Belgrade, E, Serbian
    Croatia, Zagreb, E, Croatian
    Slovenia, Ljubljana, E, Slovenian
    Slovakia, Bratislava, E, Slovak
    Albania, Tirana, E, Albanian
    Estonia, Tallinn, E, Estonian
    Latvia, Riga, E, Latvian
    Lithuania, Vilnius, E, Lithuanian
    Ukraine, Kyiv, E, Ukrainian
    Belarus, Minsk, E, Belarusian
    Malta, Valletta, E, Maltese
    Czechia, Prague, E, Czech
    Moldova, Chisinau, E, Moldovan
    China, Beijing, A, Chinese
    Japan, Tokyo, A, Japanese
    India, New Delhi, A, Indian
    Pakistan, Islamabad, A, Pakistani
    Bangladesh, Dhaka, A, Bangladeshi
    Nepal, Kathmandu, A, Nepalese
    Bhutan, Thimphu, A, Bhutanese
    Thailand, Bangkok, A, Thai
    Vietnam, Hanoi, A, Vietnamese
    Cambodia, Phnom Penh, A, Cambodian
    Malaysia, Kuala Lumpur, A, Malaysian
    Mongolia, Ulaanbaatar, A, Mongolian
    Iran, Tehran, A, Iranian
    Iraq, Baghdad, A, Iraqi
    Syria, Damascus, A, Syrian
    Lebanon, Beirut, A, Lebanese
    Jordan, Amman, A, Jordanian
    Oman, Muscat, A, Omani
    Qatar, Doha, A, Qatari
    Bahrain, Manama, A, Bahraini
    Afghanistan, Kabul, A, Afghan
    Uzbekistan, Tashkent, A, Uzbek
    Tajikistan, Dushanbe, A, Tajik
    Turkmenistan, Ashgabat, A, Turkmen
    Saudi Arabia, Riyadh, A, Saudi
    South Korea, Seoul, A, South Korean
    Egypt, Cairo, F, Egyptian
    Morocco, Rabat, F, Moroccan
    Algeria, Algiers, F, Algerian
    Tunisia, Tunis, F, Tunisian
    Libya, Tripoli, F, Libyan
    Sudan, Khartoum, F, Sudanese
    Ethiopia, Addis Ababa, F, Ethiopian
    Kenya, Nairobi, F, Kenyan
    Uganda, Kampala, F, Ugandan
    Rwanda, Kigali, F, Rwandan
    Ghana, Accra, F, Ghanaian
    Nigeria, Abuja, F, Nigerian
    Senegal, Dakar, F, Senegalese
    Mali, Bamako, F, Malian
    Cameroon, Yaounde, F, Cameroonian
    Gabon, Libreville, F, Gabonese
    Angola, Luanda, F, Angolan
    Zambia, Lusaka, F, Zambian
    Zimbabwe, Harare, F, Zimbabwean
    Namibia, Windhoek, F, Namibian
    Mozambique, Maputo, F, Mozambican
    Madagascar, Antananarivo, F, Malagasy
    Somalia, Mogadishu, F, Somali
    Eritrea, Asmara, F, Eritrean
    Liberia, Monrovia, F, Liberian
    Guinea, Conakry, F, Guinean
    Gambia, Banjul, F, Gambian
    Malawi, Lilongwe, F, Malawian
    Canada, Ottawa, N, Canadian
    Cuba, Havana, N, Cuban
    Jamaica, Kingston, N, Jamaican
    Honduras, Tegucigalpa, N, Honduran
    Nicaragua, Managua, N, Nicaraguan
    Brazil, Brasilia, S, Brazilian
    Argentina, Buenos Aires, S, Argentine
    Chile, Santiago, S, Chilean
    Peru, Lima, S, Peruvian
    Colombia, Bogota, S, Colombian
    Venezuela, Caracas, S, Venezuelan
    Ecuador, Quito, S, Ecuadorian
    Uruguay, Montevideo, S, Uruguayan
    Paraguay, Asuncion, S, Paraguayan
    """,
    4,
)


def items(split: str) -> list[Item]:
    """Half of the countries."""
    return [
        Item(country, (capital, CONTINENTS[continent], adjective, country))
        for country, capital, continent, adjective in half(COUNTRIES, split, "capitals")
    ]
