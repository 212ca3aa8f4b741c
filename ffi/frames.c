/*
** The codec: frames of LTX files, whole files, checksums.
**
** PURPOSE   Every byte that comes from a replica and ends in a page passes through lsFrameDecode(). A frame names
**           its page, says how it is stored (an LZ4 block with its length, or a self-delimiting LZ4 frame with a
**           checksum of its own) and must give exactly one page.
** ERRORS    LS_FORMAT with words in ls_fault().
** SOURCE    LTX file format, "Page block", "Page index", "Checksums".
*/
#include <stdlib.h>
#include <string.h>
#include <lz4.h>
#include <lz4frame.h>
#include "pages.h"

#define FRAME_HEADER 6

static uint32_t get32(const uint8_t *a){
  return (uint32_t)a[0]<<24 | (uint32_t)a[1]<<16 | (uint32_t)a[2]<<8 | a[3];
}
static uint64_t get64(const uint8_t *a){ return (uint64_t)get32(a)<<32 | get32(a+4); }

/* Decompresses one LZ4 frame that must end where its input ends and give exactly nDst bytes. */
static int lz4FrameExact(const uint8_t *aSrc, size_t nSrc, uint8_t *aDst, size_t nDst){
  LZ4F_dctx *pCtx = NULL;
  size_t iSrc = 0, iDst = 0, nHint = 1;
  int rc = LS_FORMAT;
  if( LZ4F_isError(LZ4F_createDecompressionContext(&pCtx, LZ4F_VERSION)) ) return LS_NOMEM;
  while( nHint!=0 ){
    uint8_t aSpare[1];
    size_t nIn = nSrc-iSrc, nOut = nDst-iDst;
    nHint = LZ4F_decompress(pCtx, nOut ? aDst+iDst : aSpare, &nOut, aSrc+iSrc, &nIn, NULL);
    if( LZ4F_isError(nHint) ){
      lsFaultSet("LZ4 frame: %s", LZ4F_getErrorName(nHint));
      goto done;
    }
    iSrc += nIn;
    iDst += nOut;
    if( nHint!=0 && nIn==0 && nOut==0 ){
      lsFaultSet("LZ4 frame gives %zu bytes of %zu from %zu bytes and does not end", iDst, nDst, iSrc);
      goto done;
    }
  }
  if( iDst!=nDst || iSrc!=nSrc ){
    lsFaultSet("LZ4 frame gives %zu bytes from %zu, expected %zu from %zu", iDst, iSrc, nDst, nSrc);
    goto done;
  }
  rc = 0;
done:
  LZ4F_freeDecompressionContext(pCtx);
  return rc;
}

/* Checks and decodes the frame aByte[0..nByte) of page iPgno into aOut[0..szPage). */
int lsFrameDecode(const uint8_t *aByte, uint32_t nByte, uint32_t iPgno, uint32_t szPage, uint8_t *aOut){
  uint32_t iFound, eFlag, nBlock;
  int n;
  if( nByte<FRAME_HEADER ){
    lsFaultSet("frame of page %u has %u bytes, expected at least %d", iPgno, nByte, FRAME_HEADER);
    return LS_FORMAT;
  }
  iFound = get32(aByte);
  eFlag = (uint32_t)aByte[4]<<8 | aByte[5];
  if( iFound!=iPgno || (eFlag & ~1u)!=0 ){
    lsFaultSet("frame names page %u with flags 0x%04x, expected page %u with flags 0 or 1", iFound, eFlag, iPgno);
    return LS_FORMAT;
  }
  if( eFlag==0 ) return lz4FrameExact(aByte+FRAME_HEADER, nByte-FRAME_HEADER, aOut, szPage);
  if( nByte<FRAME_HEADER+4 || (nBlock = get32(aByte+FRAME_HEADER))!=nByte-FRAME_HEADER-4 ){
    lsFaultSet("frame of page %u has %u bytes, which its block size contradicts", iPgno, nByte);
    return LS_FORMAT;
  }
  n = LZ4_decompress_safe((const char*)aByte+FRAME_HEADER+4, (char*)aOut, (int)nBlock, (int)szPage);
  if( n!=(int)szPage ){
    lsFaultSet("LZ4 block of page %u gives %d bytes, expected %u", iPgno, n, szPage);
    return LS_FORMAT;
  }
  return 0;
}

int ls_lz4_compress(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst){
  int n;
  if( nSrc<0 || nDst<0 ) return LS_MISUSE;
  n = LZ4_compress_default((const char*)aSrc, (char*)aDst, nSrc, nDst);
  return n>0 ? n : LS_LIMIT;
}

int ls_lz4_block(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst){
  int n;
  if( nSrc<0 || nDst<0 ) return LS_MISUSE;
  n = LZ4_decompress_safe((const char*)aSrc, (char*)aDst, nSrc, nDst);
  if( n==nDst ) return 0;
  lsFaultSet("LZ4 block gives %d bytes, expected %d", n, nDst);
  return LS_FORMAT;
}

int ls_lz4_frame(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst){
  if( nSrc<0 || nDst<0 ) return LS_MISUSE;
  return lz4FrameExact(aSrc, (size_t)nSrc, aDst, (size_t)nDst);
}

/* ---------------------------------------------------------------------------------------------- CRC-64 */

static uint64_t aCrc[8][256];
static LsOnce onceCrc = LS_ONCE_INIT;

static void crcTables(void){
  uint32_t i, j;
  for(i=0; i<256; i++){
    uint64_t c = i;
    for(j=0; j<8; j++) c = (c & 1) ? (c>>1) ^ 0xD800000000000000ull : c>>1;
    aCrc[0][i] = c;
  }
  for(i=0; i<256; i++){
    for(j=1; j<8; j++) aCrc[j][i] = aCrc[0][aCrc[j-1][i] & 0xff] ^ (aCrc[j-1][i]>>8);
  }
}

/* CRC-64/ISO, eight bytes a step; start with ~0 and invert the end. */
static uint64_t crcUpdate(uint64_t c, const uint8_t *a, size_t n){
  for(; n>=8; n-=8, a+=8){
    uint64_t v;
    c ^= (uint64_t)a[0] | (uint64_t)a[1]<<8 | (uint64_t)a[2]<<16 | (uint64_t)a[3]<<24
       | (uint64_t)a[4]<<32 | (uint64_t)a[5]<<40 | (uint64_t)a[6]<<48 | (uint64_t)a[7]<<56;
    v = aCrc[7][c & 0xff] ^ aCrc[6][(c>>8) & 0xff] ^ aCrc[5][(c>>16) & 0xff] ^ aCrc[4][(c>>24) & 0xff];
    v ^= aCrc[3][(c>>32) & 0xff] ^ aCrc[2][(c>>40) & 0xff] ^ aCrc[1][(c>>48) & 0xff] ^ aCrc[0][c>>56];
    c = v;
  }
  for(; n>0; n--, a++) c = aCrc[0][(c ^ *a) & 0xff] ^ (c>>8);
  return c;
}

uint64_t lsCrc(uint64_t c, const uint8_t *a, size_t n){
  lsOnce(&onceCrc, crcTables);
  return crcUpdate(c, a, n);
}

/* Has aInOut[0] go on over further bytes: ~0 before the first, inverted and with its highest bit set it is a file's checksum. */
int ls_crc_add(const uint8_t *aByte, int nByte, uint64_t *aInOut){
  if( nByte<0 ) return LS_MISUSE;
  aInOut[0] = lsCrc(aInOut[0], aByte, (size_t)nByte);
  return 0;
}

/* Length of the LZ4 frame at a[0..nMax): its header and its blocks walked; 0 when it does not fit. */
static uint64_t lz4FrameLength(const uint8_t *a, uint64_t nMax){
  uint64_t n = 7;
  uint8_t eFlg;
  if( nMax<7 ) return 0;
  eFlg = a[4];
  if( eFlg & 0x08 ) n += 8;
  if( eFlg & 0x01 ) n += 4;
  for(;;){
    uint32_t nBlock;
    if( n+4>nMax ) return 0;
    nBlock = (uint32_t)a[n] | (uint32_t)a[n+1]<<8 | (uint32_t)a[n+2]<<16 | (uint32_t)a[n+3]<<24;
    n += 4;
    if( nBlock==0 ) break;
    n += nBlock & 0x7fffffffu;
    if( eFlg & 0x10 ) n += 4;
  }
  if( eFlg & 0x04 ) n += 4;
  return n<=nMax ? n : 0;
}

/* Length of the frame at a[0..nMax), 0 when there is none. */
static uint64_t frameLength(const uint8_t *a, uint64_t nMax){
  uint64_t n = 0;
  if( nMax>=FRAME_HEADER+4 && a[4]==0 && a[5]==1 ){
    n = FRAME_HEADER+4+(uint64_t)get32(a+FRAME_HEADER);
  }else if( nMax>FRAME_HEADER && a[4]==0 && a[5]==0 ){
    n = lz4FrameLength(a+FRAME_HEADER, nMax-FRAME_HEADER);
    if( n ) n += FRAME_HEADER;
  }
  return n<=nMax ? n : 0;
}

/* Decodes and hashes the frames in [100, iIndex); leaves the offset behind the last one in *piAt. */
static int framesHash(const uint8_t *aByte, uint64_t iIndex, uint32_t szPage, uint8_t *aPage, uint64_t *pCrc,
                      uint64_t *piAt){
  uint64_t iAt = 100;
  uint32_t iLast = 0;
  while( iAt+6<iIndex ){
    uint32_t iPgno = get32(aByte+iAt);
    uint64_t nFrame = frameLength(aByte+iAt, iIndex-6-iAt);
    int rc;
    if( iPgno<=iLast || nFrame==0 ){
      lsFaultSet("bytes at offset %llu are no frame of a page after %u", (unsigned long long)iAt, iLast);
      return LS_FORMAT;
    }
    rc = lsFrameDecode(aByte+iAt, (uint32_t)nFrame, iPgno, szPage, aPage);
    if( rc ) return rc;
    *pCrc = crcUpdate(*pCrc, aByte+iAt, aByte[iAt+5]==1 ? FRAME_HEADER+4 : FRAME_HEADER);
    *pCrc = crcUpdate(*pCrc, aPage, szPage);
    iLast = iPgno;
    iAt += nFrame;
  }
  *piAt = iAt;
  return 0;
}

/*
** Walks a whole file: frames, terminator, index size, trailer, file checksum. The header's fields and the index
** entries are checked elsewhere; here every page is decoded and hashed.
*/
int ls_file_verify(const uint8_t *aByte, int nByte){
  uint32_t szPage;
  uint64_t crc, nIndex, iIndex, iAt = 0;
  uint8_t *aPage;
  int rc;
  lsOnce(&onceCrc, crcTables);
  if( nByte<100+6+1+8+16 || memcmp(aByte, "LTX1", 4)!=0 ){
    lsFaultSet("file has %d bytes or does not begin with LTX1", nByte);
    return LS_FORMAT;
  }
  szPage = get32(aByte+8);
  nIndex = get64(aByte+nByte-24);
  if( szPage<512 || szPage>65536 || (szPage & (szPage-1))!=0 || nIndex<1 || nIndex>(uint64_t)nByte-100-6-24 ){
    lsFaultSet("page size is %u, page index has %llu bytes, the file %d", szPage, (unsigned long long)nIndex, nByte);
    return LS_FORMAT;
  }
  iIndex = (uint64_t)nByte-24-nIndex;
  aPage = malloc(szPage);
  if( aPage==NULL ) return LS_NOMEM;
  crc = crcUpdate(~0ull, aByte, 100);
  rc = framesHash(aByte, iIndex, szPage, aPage, &crc, &iAt);
  free(aPage);
  if( rc ) return rc;
  if( iAt+6!=iIndex || memcmp(aByte+iAt, "\0\0\0\0\0\0", 6)!=0 ){
    lsFaultSet("frames end at offset %llu without a terminator", (unsigned long long)iAt);
    return LS_FORMAT;
  }
  crc = crcUpdate(crc, aByte+iAt, (size_t)nByte-8-(size_t)iAt);
  crc = ~crc | 0x8000000000000000ull;
  if( crc!=get64(aByte+nByte-8) ){
    lsFaultSet("file checksum is %016llx, expected %016llx as the trailer says", (unsigned long long)crc,
      (unsigned long long)get64(aByte+nByte-8));
    return LS_FORMAT;
  }
  return 0;
}
