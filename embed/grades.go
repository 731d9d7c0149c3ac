package embed

import (
	"strings"

	"engram/internal/words"
)

// English words that say little about what a text is about, written down by
// hand in three grades, of which the first is words.FunctionWords. They stand in for the inverse document frequency that
// an embedder, which sees one text at a time, can't know.

// everydayWords are content words that nearly every conversation has.
const everydayWords = `
get gets getting got gotten go goes going went gone come comes coming came
know knows knowing knew known think thinks thinking thought say says saying
said tell tells telling told see sees seeing saw seen look looks looking
looked make makes making made take takes taking took taken give gives giving
gave given want wants wanting wanted need needs needing needed like likes
liked feel feels feeling felt try tries trying tried use uses using used
keep keeps keeping kept put find finds finding found mean means meant good
great really right nice sure much many lot lots thing things something
anything everything nothing someone anyone everyone way ways kind sort bit
little big new old long back time times day days today people person man guy
guys always often sometimes maybe perhaps probably actually definitely
totally quite pretty almost already soon later ago away together another
every enough first last next lately recently best better bad love loves
loved loving hope hopes hoping hoped wish sound sounds sounding seem seems
seemed glad happy cool awesome amazing wonderful fun able different sorry
bye three four five however instead rather especially super truly`

// commonWords are content words that many conversations have.
const commonWords = `
work works working worked start starts starting started help helps helping
helped talk talks talking talked ask asks asking asked show shows showing
showed call calls calling called turn turns turned leave leaves leaving left
hear hears hearing heard lets live lives living lived play plays playing
played run runs running ran move moves moving moved bring brings bringing
brought happen happens happening happened become becomes becoming became
begin begins began sit stand hold set meet met stay stays stayed share
sharing shared enjoy enjoys enjoyed enjoying plan plans planning planned
believe remember learn learning learned understand year years week weeks
month months night tonight tomorrow yesterday morning evening afternoon
moment life world place part side end home house room name number word
question point case fact idea ideas stuff reason hand head eye friend
friends family mother father mom dad kid kids child children woman women boy
girl high low small large early late hard easy free full whole half real
true important special interesting excited exciting ready possible favorite
interested least less far close open`

// grades maps a word to the grade of its list; 0 is for all other words.
var grades = func() map[string]uint8 {
	m := make(map[string]uint8, 1024)
	for i, list := range []string{words.FunctionWords, everydayWords, commonWords} {
		for _, w := range strings.Fields(list) {
			m[w] = uint8(i + 1)
		}
	}
	return m
}()
