/* SPDX-License-Identifier: Apache-2.0 */
/* XML from anybody, taken in safely. libxml2 parses; what it would do beyond elements
 * and text is switched off or refused here: declarations of entities and elements,
 * fetching, depth, size. */
#include "profile/xml.h"

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlschemas.h>
#include <pthread.h>
#include <string.h>

#include "base/str.h"

/* What hangs on the parser's context. */
struct load {
    struct profile_problems *problems;
    unsigned elements, depth;
    startElementNsSAX2Func start;
    endElementNsSAX2Func end;
    internalSubsetSAXFunc subset;
};

static struct load *load_of(void *ctx)
{
    return ((xmlParserCtxtPtr)ctx)->_private;
}

static void refuse(void *ctx, const char *where, const char *text)
{
    xmlParserCtxtPtr c = ctx;
    profile_problem(load_of(ctx)->problems, (unsigned)xmlSAX2GetLineNumber(ctx), where,
                    "%s", text);
    xmlStopParser(c);
    c->disableSAX = 1;
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix,
                     const xmlChar *uri, int nns, const xmlChar **ns, int nattrs,
                     int ndefaulted, const xmlChar **attrs)
{
    struct load *l = load_of(ctx);
    if (++l->depth > XML_DEPTH_MAX) {
        refuse(ctx, NULL, "elements are nested too deep");
        return;
    }
    if (++l->elements > XML_ELEMENTS_MAX) {
        refuse(ctx, NULL, "too many elements");
        return;
    }
    if (prefix || nns) {
        refuse(ctx, (const char *)name, "namespaces are not used here; remove 'xmlns'");
        return;
    }
    l->start(ctx, name, prefix, uri, nns, ns, nattrs, ndefaulted, attrs);
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix,
                   const xmlChar *uri)
{
    load_of(ctx)->depth--;
    load_of(ctx)->end(ctx, name, prefix, uri);
}

static void on_subset(void *ctx, const xmlChar *name, const xmlChar *public_id,
                      const xmlChar *system_id)
{
    const char *id = (const char *)system_id, *slash = id ? strrchr(id, '/') : NULL;
    if (id && (strcmp(slash ? slash + 1 : id, "v3m_profile.dtd") ||
               strcmp((const char *)name, "profile"))) {
        refuse(ctx, "DOCTYPE",
               "this document type is not known; use "
               "<!DOCTYPE profile PUBLIC \"\" \"v3m_profile.dtd\"> or none");
        return;
    }
    load_of(ctx)->subset(ctx, name, public_id, system_id);
}

static void no_external(void *ctx, const xmlChar *name, const xmlChar *public_id,
                        const xmlChar *system_id)
{
}

static void on_entity(void *ctx, const xmlChar *name, int type,
                      const xmlChar *public_id, const xmlChar *system_id,
                      xmlChar *content)
{
    refuse(ctx, "ENTITY", "a document may not declare entities; write the text itself");
}

static void on_unparsed(void *ctx, const xmlChar *name, const xmlChar *public_id,
                        const xmlChar *system_id, const xmlChar *notation)
{
    refuse(ctx, "ENTITY", "a document may not declare entities; write the text itself");
}

#define NO_DECLARATIONS "a document may not declare anything; remove the part in [ ]"

static void on_element_decl(void *ctx, const xmlChar *name, int type,
                            xmlElementContentPtr content)
{
    refuse(ctx, "DOCTYPE", NO_DECLARATIONS);
}

static void on_attribute_decl(void *ctx, const xmlChar *element, const xmlChar *name,
                              int type, int def, const xmlChar *value,
                              xmlEnumerationPtr tree)
{
    xmlFreeEnumeration(tree);
    refuse(ctx, "DOCTYPE", NO_DECLARATIONS);
}

static void on_notation(void *ctx, const xmlChar *name, const xmlChar *public_id,
                        const xmlChar *system_id)
{
    refuse(ctx, "DOCTYPE", NO_DECLARATIONS);
}

/* Only the five that XML itself has. */
static xmlEntityPtr on_get_entity(void *ctx, const xmlChar *name)
{
    return xmlGetPredefinedEntity(name);
}

static xmlEntityPtr on_get_parameter_entity(void *ctx, const xmlChar *name)
{
    return NULL;
}

static void on_reference(void *ctx, const xmlChar *name)
{
    if (load_of(ctx)->problems->errors) /* told with its name already */
        xmlStopParser(ctx);
    else
        refuse(ctx, NULL, "only &amp; &lt; &gt; &quot; and &apos; may be used");
}

/* The first line of libxml2's message, without its newline. */
static void note_message(struct profile_problems *problems, unsigned line,
                         const char *where, const char *message)
{
    size_t n = message ? strcspn(message, "\n") : 0;
    while (n && (message[n - 1] == ' ' || message[n - 1] == '.'))
        n--;
    profile_problem(problems, line, where, "%.*s", (int)(n < 300 ? n : 300),
                    message ? message : "");
}

static void on_error(void *arg, xmlErrorPtr e)
{
    struct load *l = load_of(arg);
    if (e->code == XML_ERR_USER_STOP)
        return;
    /* After our own refusal libxml2 only wonders about the rest. */
    if (((xmlParserCtxtPtr)arg)->disableSAX && l->problems->errors)
        return;
    unsigned line = e->line > 0 ? (unsigned)e->line : 0;
    if (e->code == XML_ERR_UNDECLARED_ENTITY || e->code == XML_WAR_UNDECLARED_ENTITY)
        profile_problem(l->problems, line, NULL,
                        "entity '&%.40s;' is unknown; only &amp; &lt; &gt; &quot; and "
                        "&apos; may be used",
                        e->str1 ? e->str1 : "");
    else
        note_message(l->problems, line, NULL, e->message);
}

static void ignore_message(void *ctx, const char *fmt, ...)
{
}

static void init_library(void)
{
    xmlInitParser();
    xmlSetGenericErrorFunc(NULL, ignore_message);
}

static void set_handlers(xmlParserCtxtPtr c, struct load *l)
{
    xmlSAXHandlerPtr sax = c->sax;
    l->start = sax->startElementNs;
    l->end = sax->endElementNs;
    l->subset = sax->internalSubset;
    sax->startElementNs = on_start;
    sax->endElementNs = on_end;
    sax->internalSubset = on_subset;
    sax->externalSubset = no_external;
    sax->entityDecl = on_entity;
    sax->unparsedEntityDecl = on_unparsed;
    sax->elementDecl = on_element_decl;
    sax->attributeDecl = on_attribute_decl;
    sax->notationDecl = on_notation;
    sax->getEntity = on_get_entity;
    sax->getParameterEntity = on_get_parameter_entity;
    sax->reference = on_reference;
    sax->serror = on_error;
    c->_private = l;
}

/* What libxml2 would find late or name badly. */
static bool is_sane(const char *text, size_t len, struct profile_problems *problems)
{
    if (len > XML_BYTES_MAX) {
        profile_problem(problems, 0, NULL, "larger than %d KiB", XML_BYTES_MAX >> 10);
        return false;
    }
    if (len >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2))) {
        profile_problem(problems, 1, NULL, "is UTF-16; save it as UTF-8");
        return false;
    }
    unsigned line = 1;
    for (size_t i = 0; i < len; i++) {
        if (!text[i]) {
            profile_problem(problems, line, NULL, "contains a NUL; is it XML at all?");
            return false;
        }
        line += text[i] == '\n';
    }
    size_t blank = 0;
    while (blank < len && strchr(" \t\r\n", text[blank]))
        blank++;
    if (blank == len) {
        profile_problem(problems, 0, NULL, "is empty");
        return false;
    }
    return true;
}

xmlDocPtr xml_load(const char *text, size_t len, struct profile_problems *problems)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct load l = {.problems = problems};
    size_t before = problems->errors;
    if (!is_sane(text, len, problems))
        return NULL;
    pthread_once(&once, init_library);
    xmlParserCtxtPtr c = xmlNewParserCtxt();
    if (!c) {
        profile_problem(problems, 0, NULL, "out of memory");
        return NULL;
    }
    set_handlers(c, &l);
    xmlDocPtr doc = xmlCtxtReadMemory(c, text, (int)len, NULL, NULL,
                                      XML_PARSE_NONET | XML_PARSE_NOCDATA |
                                          XML_PARSE_BIG_LINES | XML_PARSE_COMPACT);
    if (doc && (problems->errors > before || !xmlDocGetRootElement(doc))) {
        xmlFreeDoc(doc);
        doc = NULL;
    }
    if (!doc && problems->errors == before)
        profile_problem(problems, 0, NULL, "is not an XML document");
    if (c->myDoc && c->myDoc != doc)
        xmlFreeDoc(c->myDoc);
    c->myDoc = NULL;
    xmlFreeParserCtxt(c);
    return doc;
}

bool xml_is_v3m(xmlDocPtr doc)
{
    return doc->intSubset && doc->intSubset->SystemID;
}

unsigned xml_line(xmlNodePtr node)
{
    long line = xmlGetLineNo(node);
    return line > 0 ? (unsigned)line : 0;
}

static void on_schema_error(void *arg, xmlErrorPtr e)
{
    const xmlNode *node = e->node;
    const char *name =
        node && node->type == XML_ELEMENT_NODE ? (const char *)node->name : NULL;
    note_message(arg, e->line > 0 ? (unsigned)e->line : 0, name, e->message);
}

void xml_validate(xmlDocPtr doc, const char *xsd, struct profile_problems *problems)
{
    xmlSchemaParserCtxtPtr parser = xmlSchemaNewMemParserCtxt(xsd, (int)strlen(xsd));
    xmlSchemaPtr schema = parser ? xmlSchemaParse(parser) : NULL;
    xmlSchemaValidCtxtPtr valid = schema ? xmlSchemaNewValidCtxt(schema) : NULL;
    if (valid) {
        xmlSchemaSetValidStructuredErrors(valid, on_schema_error, problems);
        int r = xmlSchemaValidateDoc(valid, doc);
        if (r != 0 && !problems->errors)
            profile_problem(problems, 0, NULL, "does not follow the schema");
    } else {
        profile_problem(problems, 0, NULL, "our own schema cannot be read");
    }
    xmlSchemaFreeValidCtxt(valid);
    xmlSchemaFree(schema);
    xmlSchemaFreeParserCtxt(parser);
}
